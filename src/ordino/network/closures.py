"""Closures: a location is switched off, for one channel or for all, from some time until another, or until it is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound
from ordino.core.statements import statements
from ordino.core.times import NEEDS_OFFSET, Instant
from ordino.core.upserts import (
    NotUpserted,
    Outcome,
    Reason,
    Text,
    hold_network,
    in_rounds,
    network_changed,
    outcome,
    part_changed,
)
from ordino.network.facts import facts
from ordino.network.facts.load import REOPENED_KEPT

sql = statements("ordino.network")


class Closure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """While it lasts, nothing is promised from the location and nothing is released to it; what is allocated there goes elsewhere,
    if somebody else can supply it. An outage has no ``ends_at``; without ``starts_at`` it begins at once.
    """

    code: Code
    location: Code
    channel: Code | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    reason: Text


class Reopened(Struct, frozen=True):
    """The closure is taken back."""

    code: str


async def upsert_closures(tx: Tx, wanted: Sequence[Closure], *, at: datetime) -> list[Outcome]:
    """Each by its code. What is not released leaves the location within seconds of the closure's begin (``orders/leave.py``)."""
    if not wanted:
        return []
    await hold_network(tx)
    network = await facts(tx)

    async def one(closure: Closure) -> Outcome:
        if closure.starts_at is None and closure.ends_at is not None:
            for known in await closures(tx, [closure.code]):
                if known.starts_at is not None and closure.ends_at <= known.starts_at:
                    detail = (
                        f"This closure starts at {known.starts_at.isoformat()}; end it after that, or send `starts_at`."
                    )
                    return NotUpserted(closure.code, Reason.INVALID, detail, "/ends_at")
        location_id = network.location_ids.get(closure.location)
        if location_id is None:
            detail = f"There is no location {closure.location!r}; create it with PUT /v1/locations."
            return NotUpserted(closure.code, Reason.UNKNOWN, detail, "/location")
        if closure.channel is not None and closure.channel not in network.channels:
            detail = f"There is no channel {closure.channel!r}; create it with PUT /v1/channels."
            return NotUpserted(closure.code, Reason.UNKNOWN, detail, "/channel")
        rows = await sql.write_closure(
            tx,
            code=closure.code,
            location_id=location_id,
            channel_id=None if closure.channel is None else network.channels[closure.channel].channel_id,
            starts_at=closure.starts_at,
            at=at,
            ends_at=closure.ends_at,
            reason=closure.reason,
        )
        return outcome(closure.code, new=bool(rows) and rows[0]["new"], written=bool(rows))

    async def apply(batch: Sequence[Closure]) -> list[Outcome]:
        return [await one(closure) for closure in batch]

    def fault(closure: Closure) -> Fault | None:
        for name in ("starts_at", "ends_at"):
            instant = getattr(closure, name)
            if instant is not None and instant.tzinfo is None:
                return Fault(f"/{name}", NEEDS_OFFSET)
        if closure.ends_at is not None and closure.ends_at <= (closure.starts_at or at):
            return Fault(
                "/ends_at", "A closure ends after it starts; leave `ends_at` out for an outage of unknown length."
            )
        return None

    outcomes = await in_rounds(wanted, code=lambda closure: closure.code, fault=fault, apply=apply)
    await network_changed(tx, outcomes, "closures", promises=True)
    return outcomes


async def reopen(tx: Tx, code: str) -> Reopened:
    """Raises ``NotFound``."""
    await hold_network(tx)
    if not await sql.drop_closure(tx, code=code):
        raise NotFound(f"There is no closure {code!r}.")
    await sql.forget_reopened(tx, keep=REOPENED_KEPT)
    await part_changed(tx, "closures", promises=True)
    return Reopened(code)


async def closures(tx: Tx, codes: Sequence[str]) -> list[Closure]:
    return [Closure(**row) for row in await sql.closures(tx, codes=list(codes))]


async def closures_after(tx: Tx, after: str, limit: int) -> list[Closure]:
    return await closures(tx, [row["code"] for row in await sql.closure_codes_after(tx, after=after, limit=limit)])
