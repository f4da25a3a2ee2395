"""Bulk upserts: a set of things named by their codes, and what became of each.

A thing is created when its code is new, updated when something differs, and left alone when nothing does. One that is
refused changes nothing and spoils none of its neighbours. A code that stands several times in a set is applied in order.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from ordino.core import codes, kept
from ordino.core.database import Tx
from ordino.core.errors import Conflict, Fault, Forbidden, Invalid, Refused
from ordino.core.statements import statements
from ordino.core.wording import plain_words

Thing = TypeVar("Thing", bound=Struct)
sql = statements("ordino.core")

_NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps every character but this one
Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_NUL)]
CountryCode = Annotated[str, Meta(pattern="^[A-Z]{2}$", max_length=2, description="ISO 3166-1 alpha-2.")]
CurrencyCode = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3, description="ISO 4217.")]


class Reason(StrEnum):
    """Why a thing was refused, in the order in which the reasons are tested."""

    INVALID = "invalid"  # A field breaks its type or its rule.
    FORBIDDEN = "forbidden"  # The key is narrowed, and does not reach it.
    UNKNOWN = "unknown"  # It names something that does not exist.
    CONFLICT = "conflict"  # It would change what must stay, or break a rule together with what is there.


class Created(Struct, frozen=True, tag_field="outcome", tag="created"):
    """The code was new."""

    code: str


class Updated(Struct, frozen=True, tag_field="outcome", tag="updated"):
    """Something differed, and is now as sent."""

    code: str


class Unchanged(Struct, frozen=True, tag_field="outcome", tag="unchanged"):
    """It already was as sent."""

    code: str


class NotUpserted(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written. ``pointer`` names the field within the item, ``detail`` says what to do."""

    code: str
    reason: Reason
    detail: str
    pointer: str = ""


Outcome = Created | Updated | Unchanged | NotUpserted


def refusal(code: str, fault: Fault, reason: Reason = Reason.INVALID) -> NotUpserted:
    return NotUpserted(code, reason, fault.detail, fault.pointer)


def type_fault(thing: Struct) -> Fault | None:
    """What the thing's type says against it; callers that make things themselves are checked like those that send them."""
    plain = msgspec.to_builtins(thing)
    tidied, faults = codes.tidy(plain, type(thing))
    if faults or tidied is not plain:
        said = "Codes are trimmed and in Unicode normalization form C; `ordino.core.codes.normal` makes them so."
        return faults[0] if faults else Fault("", said)
    try:
        msgspec.convert(plain, type(thing))
    except msgspec.ValidationError as error:
        return fault_of(error)
    return None


_AT = re.compile(r"^(?P<detail>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*?)`(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*?)`(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def fault_of(error: msgspec.ValidationError) -> Fault:
    """The field that a decoder complains of, as a JSON pointer into the thing."""
    if unknown := _UNKNOWN.match(str(error)):
        name = unknown["name"]
        detail = f"There is no field {name!r} here; correct its name, or leave it out."
        return Fault(_pointer(unknown["path"]) + pointer_to(name), detail)
    if missing := _MISSING.match(str(error)):
        name = missing["name"]
        return Fault(_pointer(missing["path"]) + pointer_to(name), f"The field {name!r} is missing; it is required.")
    match = _AT.match(str(error))
    assert match is not None, "the pattern matches everything"
    return Fault(_pointer(match["path"]), f"{plain_words(match['detail'])}.")


def pointer_to(name: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _pointer(path: str | None) -> str:
    steps = [name or index for name, index in _STEP.findall((path or "").removeprefix("$"))]
    return "".join(f"/{step}" for step in steps if step != "...")


async def in_rounds(
    things: Sequence[Thing],
    *,
    code: Callable[[Thing], str],
    fault: Callable[[Thing], Fault | None],
    apply: Callable[[Sequence[Thing]], Awaitable[Sequence[Outcome]]],
) -> list[Outcome]:
    """One outcome a thing. ``apply`` is given sound things with distinct codes, as often as a code repeats."""
    outcomes: dict[int, Outcome] = {}
    rounds: list[list[int]] = []
    seen: dict[str, int] = {}
    for index, thing in enumerate(things):
        wrong = type_fault(thing) or fault(thing)
        if wrong is not None:
            outcomes[index] = refusal(code(thing), wrong)
            continue
        turn = seen[code(thing)] = seen.get(code(thing), -1) + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(index)
    for indexes in rounds:
        outcomes.update(zip(indexes, await apply([things[index] for index in indexes]), strict=True))
    return [outcomes[index] for index in range(len(things))]


def outcome(code: str, *, new: bool, written: bool) -> Outcome:
    if new:
        return Created(code)
    return Updated(code) if written else Unchanged(code)


def wrote(outcomes: Iterable[Outcome]) -> bool:
    """Is anything different now?"""
    return any(isinstance(outcome, Created | Updated) for outcome in outcomes)


async def take_ids(tx: Tx, name: str, codes: Sequence[str]) -> dict[str, int]:
    """A fresh integer key for each code, from one block. Whoever else wants keys of this name waits for the commit."""
    if not codes:
        return {}
    first: int = (await sql.take_numbers(tx, name=name, count=len(codes)))[0]["first"]
    return {code: first + place for place, code in enumerate(codes)}


NETWORK_PARTS = (
    "locations", "carrier_services", "channels", "postal_codes", "closures", "carrier_pickups", "capacity_days", "exchange_rates",
)  # fmt: skip
"""What the network is made of: each part has a revision of its own beside that of the whole. Channels are read with their sellers
and networks, carrier services with their zones, rates and lanes.
"""


async def hold_network(tx: Tx) -> None:
    """Changes of the network take turns: what this transaction reads of it stands until the commit. Readers do not wait."""
    await kept.hold(tx, "network")


async def share_network(tx: Tx) -> None:
    """What this transaction reads of the network from here on stands until the commit: changes wait, others who share do not."""
    await kept.share(tx, "network")


async def network_changed(tx: Tx, outcomes: Iterable[Outcome], part: str, *, promises: bool = False) -> None:
    """Everybody who keeps facts of the network reads this part of them again, if anything was written. ``promises``: what may be
    promised may have changed with it, and is published anew.
    """
    if wrote(outcomes):
        await part_changed(tx, part, promises=promises)


async def part_changed(tx: Tx, part: str, *, promises: bool = False) -> None:
    """A part of the network is different in this transaction, which holds the network. The whole counts with its parts, one by one:
    what it has counted beyond them was written by a version of Ordino that knows no parts, and then all of them are read again.
    """
    assert part in NETWORK_PARTS, f"the network has no part {part}"
    await kept.changed(tx, part)
    await kept.changed(tx, "network")
    if promises:
        await kept.changed(tx, "promises")


_ERRORS: dict[Reason, type[Refused]] = {
    Reason.INVALID: Invalid,
    Reason.UNKNOWN: Refused,
    Reason.CONFLICT: Conflict,
    Reason.FORBIDDEN: Forbidden,
}


def as_error(refused: NotUpserted) -> Refused:
    """A refusal as the problem that a request for a single thing is answered with."""
    return _ERRORS[refused.reason](refused.detail, code=refused.reason, faults=[Fault(refused.pointer, refused.detail)])
