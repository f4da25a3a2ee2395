"""What every command needs: a database to work on, stages that are loaded, and an end that is tidy."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

import uvloop

from ordino.api.server import address_of, calm_collector, load_stages
from ordino.cli import signals
from ordino.core.clock import WallClock
from ordino.core.database import Database
from ordino.core.embedded import START_SECONDS, DirectoryInUse, EmbeddedPostgres, Holder, holder_of
from ordino.core.errors import Invalid, OrdinoError
from ordino.core.migrations import is_under_way, migrate, pending_on
from ordino.core.patience import Patience
from ordino.core.settings import BadSetting, Settings
from ordino.core.watch import Watch

log = logging.getLogger("ordino.running")
BEGIN_SECONDS = 3.0
"""How long a command waits for another one to begin to migrate."""
LOOK_SECONDS = 0.1
T = TypeVar("T")
__all__ = [
    "again",
    "calm_collector",
    "database_url",
    "effects_of",
    "end_by_exception",
    "load_stages",
    "named",
    "opened",
    "prepare",
    "refuse_bad_settings",
    "refuse_held_directory",
    "run",
    "stopped",
]


@contextmanager
def database_url(settings: Settings, *, alone: bool = False, prepared: bool = False) -> Iterator[str]:
    """The URL that is set; or that of the embedded server that another command runs, which is said; or a server for as long as
    this one lasts, which is started again if it ends by itself.

    ``alone``: another command's server is not used. ``prepared``: the database is migrated first, and has an active flow; other
    commands wait for that. Raises ``DirectoryInUse``.
    """
    if settings.database_url is not None:
        if prepared:
            run(prepare(settings.database_url))
        yield settings.database_url
        return
    holder = None if alone else _settled_holder(settings)
    if holder is not None and holder.url is not None:
        print(f"ordino: using the PostgreSQL of {holder} in {settings.data_directory}.", file=sys.stderr)
        if prepared:
            run(prepare(holder.url))
        yield holder.url
        return
    server = EmbeddedPostgres(settings.data_directory, command=named(settings), untold=prepared)
    with server, Watch(server):
        if prepared:
            run(prepare(server.url))
            server.tell()
        yield server.url


def refuse_bad_settings(settings: Settings) -> None:
    """Raises ``BadSetting`` for what only the server or the worker reads. Their starter says it, instead of starting them again."""
    from ordino.api.callers import trust_of
    from ordino.connect.mail.smtp import server_of

    trust_of(settings)
    if settings.smtp_url is not None:
        server_of(settings.smtp_url, settings.smtp_sender)
    if settings.effects is not None:
        load_stages()
        effects_of(settings.effects, variable="ORDINO_EFFECTS")
    refuse_bad_limits(settings)


def refuse_bad_limits(settings: Settings) -> None:
    """Raises ``BadSetting`` for limits that cannot be read, and for those of a provider that is not there: a typing error would let
    calls go on without limit.
    """
    from ordino.core.adapters import PORTS
    from ordino.core.limits import limits_by_name

    text = settings.call_limits
    if text is None:
        return
    load_stages()
    known = sorted({name for kind in ("payment_provider", "message_provider") for name in PORTS[kind]})
    try:
        unknown = sorted(limits_by_name(text).keys() - set(known))
    except Invalid as error:
        raise BadSetting("ORDINO_CALL_LIMITS", text, error.detail.removesuffix(".")) from error
    if unknown:
        reason = f"no payment or message provider here is named {unknown[0]!r}; there are {', '.join(known)}"
        raise BadSetting("ORDINO_CALL_LIMITS", text, reason)


def effects_of(text: str | None, *, variable: str) -> frozenset[str]:
    """The effects that a worker is to take. Raises ``BadSetting``, with the list, for names that there are not."""
    from ordino.core.reactions import registry
    from ordino.core.taken import chosen_effects

    try:
        return chosen_effects(text, registry.effects)
    except Invalid as error:
        raise BadSetting(variable, text or "", error.detail.removesuffix(".")) from error


def refuse_held_directory(settings: Settings) -> None:
    """Raises ``DirectoryInUse`` if another command runs the embedded server of these settings."""
    if settings.database_url is None and (holder := holder_of(settings.data_directory)) is not None:
        raise DirectoryInUse(settings.data_directory, holder)


def named(settings: Settings) -> str:
    """This command, as others are told who holds a directory."""
    word = next(iter(sys.argv[1:]), "")
    if not word.replace("-", "").isalpha():
        return "another command"
    return f"`ordino {word}`" + (f" on {address_of(settings)}" if word in ("up", "serve") else "")


def _settled_holder(settings: Settings) -> Holder | None:
    """Who runs the embedded server; one that is just being started, or migrated, is waited for. Raises ``DirectoryInUse``."""
    deadline = time.monotonic() + START_SECONDS
    while (holder := holder_of(settings.data_directory)) is not None and holder.url is None:
        if time.monotonic() > deadline:
            raise DirectoryInUse(settings.data_directory, holder)
        time.sleep(0.1)
    return holder


async def prepare(url: str) -> None:
    """Every migration applied, and a flow active."""
    load_stages()
    from ordino.flows.versions import ensure_active

    await migrate(url)
    async with await Database.open(url, pool_size=1) as database:
        at = WallClock().now()
        await database.transact(lambda tx: ensure_active(tx, at=at))


@asynccontextmanager
async def opened(settings: Settings, url: str) -> AsyncIterator[Database]:
    """The database with the flows' plans. One that is being migrated is waited for. Raises ``OrdinoError`` where migrations are
    pending and nobody runs them.
    """
    from ordino.flows.versions import flow_plans

    database = await Database.of(settings, url, plans=flow_plans())
    async with database:
        await _migrated(database)
        yield database


async def _migrated(database: Database) -> None:
    """Wait for whoever migrates, or is just about to: a server that starts needs a moment before it begins to."""
    begins_by = time.monotonic() + BEGIN_SECONDS
    while True:
        under_way = await database.read(is_under_way)  # asked first: it may end before the other is answered
        if not await database.read(pending_on):
            return
        if not under_way and time.monotonic() >= begins_by:
            raise OrdinoError("The database lacks migrations; run `ordino migrate`.")
        await asyncio.sleep(LOOK_SECONDS)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end; SIGTERM ends like Ctrl-C, so that what was started is stopped."""
    end_by_exception()
    before = {number: signal.getsignal(number) for number in signals.heard()}
    try:
        return uvloop.run(coroutine)
    finally:
        # The loop takes its handlers with it.
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def end_by_exception() -> None:
    """Python skips ``finally`` on SIGTERM unless it becomes an exception. What a command has installed itself stays."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, leave)


async def stopped() -> asyncio.Event:
    """An event that SIGINT, SIGTERM and SIGHUP set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in signals.heard():
        loop.add_signal_handler(number, stop.set)
    return stop


async def again(name: str, task: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run ``task`` until told to stop. One that fails, or ends by itself, is begun again after a while, for as long as it takes."""
    patience = Patience()
    while not stop.is_set():
        patience.start()
        try:
            await task()
        except OrdinoError as error:
            log.error("%s failed and is begun again: %s", name, error)
        except Exception:
            log.exception("%s failed; it is begun again", name)
        if not stop.is_set():
            seconds = patience.end(passing=True)
            assert seconds is not None, "what passes is never given up"
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)
