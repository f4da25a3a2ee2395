"""What commands share that ask a database and show what they found."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console, RenderableType

from ordino.cli import running
from ordino.core import idempotency
from ordino.core.database import ACTOR, Database, Tx
from ordino.core.errors import Invalid, NotFound
from ordino.core.idempotency import Outcome
from ordino.core.settings import Settings
from ordino.core.times import year_fault
from ordino.web.bodies import Body, decode

T = TypeVar("T")
Verb = Callable[..., Awaitable[Any]]
console = Console()
Limit = Annotated[int, Parameter(help="At most so many, up to 10,000.", validator=Number(gte=1, lte=10_000))]
Json = Annotated[bool, Parameter(help="One JSON document.", negative="")]
Key = Annotated[
    str | None,
    Parameter(
        name="--key",
        help="A key of your own for this command. Given again with the same key, it is not done again: you get the first answer.",
    ),
]
CALLER = "command line"
"""Whose keys are those of commands: no API key's."""


def on_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Run on the database that the settings name, under the name of this command."""
    settings = Settings.from_environment()
    running.load_stages()
    with running.database_url(settings) as url:

        async def run() -> T:
            ACTOR.set(" ".join(["ordino", *sys.argv[1:2]]))
            async with running.opened(settings, url) as database:
                return await work(database)

        return running.run(run())


def change(
    command: str,
    said: Any,
    verb: Callable[[Tx, datetime], Awaitable[T]],
    answer: Any,
    *,
    key: str | None,
    before: Callable[[Database], Awaitable[None]] | None = None,
) -> T:
    """What a command changes, in one transaction; with a key, once. This is how all commands change anything.

    ``command`` and what is ``said`` tell one request from another; a function says so when it is needed. ``answer`` is the type of
    what ``verb`` returns, as which a first answer is read again. ``before`` is done in transactions of its own, unless there is
    an answer already. Raises what ``verb`` raises, and ``Conflict`` where the key was used for something else.
    """

    async def run(database: Database) -> bytes:
        async def one(tx: Tx) -> Outcome:
            return Outcome(200, msgspec.json.encode(await verb(tx, database.clock.now())))

        work = None if before is None else partial(before, database)
        named = None if key is None else idempotency.Key.of(CALLER, key, command, said() if callable(said) else said)
        return (await idempotency.answer(database, named, one, before=work)).body

    found: T = msgspec.json.decode(on_database(run), type=answer)
    return found


def sent(body: dict[str, Any], kind: type[Any]) -> Any:
    """The item that the API would read from the same body; what is None is left out. Raises ``Invalid``."""
    text = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
    return decode(text, msgspec.json.Decoder(kind))


def show(found: Any, table: Callable[[], RenderableType], *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        console.print(table())


def instant(text: str | None) -> datetime | None:
    """A time as people type it; without an offset it is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a time; write one such as 2026-11-27T08:00:00Z.") from error
    if wrong := year_fault(found):
        raise Invalid(wrong)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def day(date: date | None) -> date | None:
    """A date as people type it. Raises ``Invalid`` if it is out of reach."""
    if date is not None and (wrong := year_fault(date)):
        raise Invalid(wrong)
    return date


def units(count: int) -> str:
    """So many units, in words."""
    return "1 unit" if count == 1 else f"{count} units"


def apply_file(
    group: str, noun: str, path: Path | None, known: Mapping[str, tuple[type[Any], Verb]], *, key: str | None
) -> None:
    """Do what the API does with the same body. ``known`` says of each noun what one is, and the verb that the API has for it.

    Prints the outcomes; ends with status 1 if something was refused. Raises ``Invalid`` and ``NotFound``.
    """
    if noun == "list":
        sys.stdout.write("\n".join(sorted(known)) + "\n")
        return
    if noun not in known:
        raise Invalid(f"There is no {noun!r}; `ordino {group} apply list` names what there is.")
    if path is not None and not path.is_file():
        raise NotFound(f"There is no file {path}.")
    body = sys.stdin.buffer.read() if path is None else path.read_bytes()
    type_, verb = known[noun]
    items, _ = Body(noun, type_).decode(body)

    async def run(tx: Tx, at: datetime) -> list[Any]:
        return list(await verb(tx, items, at=at))

    outcomes = change(f"{group} apply {noun}", items, run, list[dict[str, Any]], key=key)
    sys.stdout.write(msgspec.json.encode(outcomes).decode() + "\n")
    if any(outcome.get("reason") is not None for outcome in outcomes):  # refusals have one
        raise SystemExit(1)
