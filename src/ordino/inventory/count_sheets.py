"""Cycle counts: plans say what is due, sheets are counted blind, what differs much is counted again or approved.

Which SKUs matter most is told by ABC analysis (after Pareto; for stock, H. Ford Dickie, "ABC inventory analysis shoots for
dollars, not pennies", 1951) over the units that left the location in the last 90 days: class A is the first 80% of them, B the
next 15%, C the rest.

CNT-1  A line is open, to be counted again, waiting for approval, or accepted; a sheet's counts are the sums over its lines.
CNT-2  What an accepted line says is in the ledger, as of the time at which it was counted, under the sheet's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Conflict, Fault, Invalid, NotFound
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.core.times import NEEDS_OFFSET, Instant
from ordino.core.upserts import NotUpserted, Outcome, Reason, in_rounds, outcome
from ordino.inventory.adjust import MAX_UNITS, OLDEST_DAYS, SKEW_SECONDS, apply_counts, stood_then, take_turns
from ordino.network.facts import facts

sql = statements("ordino.inventory")
MAX_LINES = 10_000
ABC_DAYS = 90
Days = Annotated[int, Meta(ge=1, le=3650)]


class State(StrEnum):
    """Where a line of a sheet is."""

    OPEN = "open"
    RECOUNT = "recount"  # It differed much: it is to be counted again, until two counts agree.
    WAITING = "waiting"  # It differs so much that a person is to approve it.
    ACCEPTED = "accepted"


EXITS: dict[State, frozenset[State]] = {
    State.OPEN: frozenset({State.RECOUNT, State.ACCEPTED}),
    State.RECOUNT: frozenset({State.WAITING, State.ACCEPTED, State.OPEN}),
    State.WAITING: frozenset({State.ACCEPTED, State.OPEN}),
    State.ACCEPTED: frozenset(),
}


class CountPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be counted at a location: SKUs of class A, B and C again after so many days, so many lines a sheet at most.

    A variance of up to ``accept_units`` or ``accept_percent`` of what was expected is accepted at once. A larger one is counted
    again; confirmed, it is accepted, or waits for approval if it is of more than ``approve_above_units``.
    """

    code: Code
    location: Code
    a_days: Days = 30
    b_days: Days = 90
    c_days: Days = 180
    lines: Annotated[int, Meta(ge=1, le=MAX_LINES)] = 50
    accept_units: Annotated[int, Meta(ge=0, le=MAX_UNITS)] = 0
    accept_percent: Annotated[float, Meta(ge=0, le=100)] = 0
    approve_above_units: Annotated[int, Meta(ge=0, le=MAX_UNITS)] = 10
    active: bool = True


class NewSheet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a plan, what is due; or of these SKUs, by a plan's thresholds."""

    plan: Code
    skus: Annotated[list[Code], Meta(min_length=1, max_length=MAX_LINES)] | None = None


class CountedLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many units were there, picked ones included, at ``counted_at`` (by default now). A count that names its time may be sent
    again: it counts once.
    """

    sku: Code
    counted: Annotated[int, Meta(ge=0, le=MAX_UNITS)]
    counted_at: Instant | None = None


class Told(Struct, frozen=True):
    """What became of a count: its line's state, and why it was refused if it was."""

    sku: str
    state: State | None
    refused: str | None = None


class SheetLine(Struct, frozen=True):
    """``expected`` and ``variance`` are told once the line is accepted or waits: until then nobody counts what they know."""

    sku: str
    state: str
    counted: int | None
    counted_at: datetime | None
    expected: int | None
    variance: int | None


class Sheet(Struct, frozen=True):
    """``status`` is `counting`, `approval` (only approvals are left) or `done`."""

    sheet_id: UUID
    plan: str
    location: str
    made_at: datetime
    status: str
    lines: list[SheetLine]


class SheetHead(Struct, frozen=True):
    sheet_id: UUID
    plan: str
    location: str
    made_at: datetime
    status: str
    open: int
    recount: int
    waiting: int
    accepted: int


async def upsert_plans(tx: Tx, plans: Sequence[CountPlan], *, at: datetime) -> list[Outcome]:
    """Each by its code; sheets that were made stay as they are."""
    places = (await facts(tx)).location_ids

    async def one(plan: CountPlan) -> Outcome:
        if plan.location not in places:
            detail = f"There is no location {plan.location!r}; create it with PUT /v1/locations."
            return NotUpserted(plan.code, Reason.UNKNOWN, detail, "/location")
        rows = await sql.write_plan(
            tx,
            code=plan.code,
            location_id=places[plan.location],
            days=[plan.a_days, plan.b_days, plan.c_days],
            lines=plan.lines,
            accept_units=plan.accept_units,
            accept_hundredths=round(plan.accept_percent * 100),
            approve_above_units=plan.approve_above_units,
            active=plan.active,
        )
        return outcome(plan.code, new=bool(rows) and rows[0]["new"], written=bool(rows))

    async def apply(batch: Sequence[CountPlan]) -> list[Outcome]:
        done = {plan.code: await one(plan) for plan in sorted(batch, key=lambda plan: plan.code)}
        return [done[plan.code] for plan in batch]

    def fault(plan: CountPlan) -> Fault | None:
        return None

    return await in_rounds(plans, code=lambda plan: plan.code, fault=fault, apply=apply)


async def plans(tx: Tx, codes: Sequence[str]) -> list[CountPlan]:
    """As they were sent."""
    return [_plan(row) for row in await sql.plans(tx, codes=list(codes))]


async def plans_after(tx: Tx, after: str, limit: int) -> list[CountPlan]:
    """One page in order of codes."""
    return await plans(tx, [row["code"] for row in await sql.plan_codes_after(tx, after=after, limit=limit)])


def _plan(row: Any) -> CountPlan:
    a, b, c = row["days"]
    same = {name: row[name] for name in ("code", "location", "lines", "accept_units", "approve_above_units", "active")}
    return CountPlan(**same, a_days=a, b_days=b, c_days=c, accept_percent=row["accept_hundredths"] / 100)


async def make_sheet(tx: Tx, wanted: NewSheet, *, at: datetime) -> Sheet:
    """A sheet of what is due and on no other open sheet, longest overdue first. Raises ``NotFound``, ``Conflict`` if nothing is."""
    found = await sql.plans(tx, codes=[wanted.plan])
    if not found:
        raise NotFound(f"There is no count plan {wanted.plan!r}; create it with PUT /v1/count_plans.")
    [plan] = found
    if wanted.skus is None:
        chosen = await _due(tx, plan, at)
        if not chosen:
            raise Conflict("Nothing is due: everything was counted in time, or is on an open sheet.")
    else:
        known = await sku_ids(tx, wanted.skus)
        for index, sku in enumerate(wanted.skus):
            if sku not in known:
                detail = f"The SKU {sku!r} does not exist."
                raise Invalid(detail, faults=[Fault(f"/skus/{index}", detail)])
        chosen = [known[sku] for sku in dict.fromkeys(wanted.skus)]
    sheet_id = new_id(at)
    await sql.write_sheet(
        tx,
        sheet_id=sheet_id,
        plan=wanted.plan,
        location_id=plan["location_id"],
        sku_ids=chosen,
        lines=len(chosen),
        at=at,
    )
    return await sheet_of(tx, sheet_id)


async def make_due_sheets(tx: Tx, since: datetime, at: datetime) -> None:
    """A day's sheets of all active plans; a plan whose last sheet is still being counted makes none."""
    for row in await sql.plans_without_sheets(tx):
        plan = (await sql.plans(tx, codes=[row["code"]]))[0]
        if await _due(tx, plan, at):
            await make_sheet(tx, NewSheet(plan=row["code"]), at=at)


async def _due(tx: Tx, plan: Any, at: datetime) -> list[int]:
    rows = await sql.due_for_count(
        tx,
        location_id=plan["location_id"],
        since=at - timedelta(days=ABC_DAYS),
        days=plan["days"],
        at=at,
        limit=plan["lines"],
    )
    return [row["sku_id"] for row in rows]


async def enter(tx: Tx, sheet_id: UUID, counts: Sequence[CountedLine], *, at: datetime) -> list[Told]:
    """What was counted of a sheet's lines, one outcome a count, in order. Raises ``NotFound``."""
    sheet, lines = await _locked(tx, sheet_id)
    by_sku = {line["sku"]: line for line in lines.values()}
    told: dict[int, Told] = {}
    sound: dict[int, Any] = {}
    for index, count in enumerate(counts):
        line, counted_at = by_sku.get(count.sku), count.counted_at or at
        refusal = None
        if line is None:
            refusal = f"{count.sku!r} is not on this sheet."
        elif any(other["sku"] == count.sku for other in sound.values()):
            refusal = f"{count.sku!r} is named twice; send its second count by itself."
        elif _same(line, count):  # sent again, it is no second count
            told[index] = Told(count.sku, State(line["state"]))
            continue
        elif line["state"] == State.ACCEPTED:
            refusal = f"The count of {count.sku!r} was accepted; count it again on a new sheet."
        elif line["state"] == State.WAITING:
            refusal = f"The count of {count.sku!r} waits for approval; approve it, or have it counted again, first."
        elif counted_at.tzinfo is None:
            refusal = NEEDS_OFFSET
        elif counted_at > at + timedelta(seconds=SKEW_SECONDS) or counted_at < at - timedelta(days=OLDEST_DAYS):
            refusal = f"Nothing is taken in that was counted at {counted_at:%Y-%m-%d %H:%M}; count again."
        if refusal is not None:
            told[index] = Told(count.sku, None, refusal)
        else:
            sound[index] = line
    times = {index: min(counts[index].counted_at or at, at) for index in sound}
    keys = {index: (line["sku_id"], sheet["location_id"]) for index, line in sound.items()}
    expected: dict[int, int] = {}
    await take_turns(tx, [time if time < at else None for time in times.values()])
    if keys:
        await stood_then(tx, list(keys.values()), None)  # all of them are held before the first is looked at
    for time in set(times.values()):
        some = [index for index in sound if times[index] == time]
        stood = await stood_then(tx, [keys[index] for index in some], None if time >= at else time)
        expected |= {index: stood[keys[index]] for index in some}
    accepted: dict[int, Any] = {}
    for index, line in sound.items():
        units, variance = counts[index].counted, counts[index].counted - expected[index]
        state = _judge(sheet, line, variance, expected[index])
        if state is State.ACCEPTED:
            accepted[index] = line
        else:
            await _write(tx, sheet_id, line, state, units, times[index], expected[index])
        told[index] = Told(counts[index].sku, state)
    refused = await _apply(
        tx,
        sheet,
        [(line, counts[index].counted, times[index], expected[index]) for index, line in accepted.items()],
        at,
    )
    for index, line in accepted.items():
        if line["line_no"] in refused:
            told[index] = Told(counts[index].sku, None, refused[line["line_no"]])
    return [told[index] for index in range(len(counts))]


def _same(line: Any, count: CountedLine) -> bool:
    return count.counted_at is not None and (line["counted"], line["counted_at"]) == (count.counted, count.counted_at)


def _judge(sheet: Any, line: Any, variance: int, expected: int) -> State:
    most = max(sheet["accept_units"], -(-expected * sheet["accept_hundredths"] // 10_000))
    if abs(variance) <= most:
        return State.ACCEPTED
    if line["state"] == State.OPEN or line["counted"] - line["expected"] != variance:
        return State.RECOUNT
    return State.WAITING if abs(variance) > sheet["approve_above_units"] else State.ACCEPTED


async def decide(tx: Tx, sheet_id: UUID, skus: Sequence[str] | None, *, approve: bool, at: datetime) -> list[Told]:
    """Lines that wait (all, or of these SKUs) are accepted, or counted anew. Raises ``NotFound``."""
    sheet, lines = await _locked(tx, sheet_id)
    waiting = {line["sku"]: line for line in lines.values() if line["state"] == State.WAITING}
    wanted = list(waiting) if skus is None else list(dict.fromkeys(skus))
    chosen = [waiting[sku] for sku in wanted if sku in waiting]
    refused: Mapping[int, str] = {}
    if approve:
        refused = await _apply(
            tx, sheet, [(line, line["counted"], line["counted_at"], line["expected"]) for line in chosen], at
        )
    else:
        for line in chosen:
            await _write(tx, sheet_id, line, State.OPEN, None, None, None)
    told = []
    for sku in wanted:
        if sku not in waiting:
            told.append(Told(sku, None, f"{sku!r} does not wait for approval on this sheet."))
        elif waiting[sku]["line_no"] in refused:
            told.append(Told(sku, None, refused[waiting[sku]["line_no"]]))
        else:
            told.append(Told(sku, State.ACCEPTED if approve else State.OPEN))
    return told


async def _apply(
    tx: Tx, sheet: Any, accepted: Sequence[tuple[Any, int, datetime, int]], at: datetime
) -> dict[int, str]:
    """Accepted lines go into the ledger. Line number -> why it could not: such a line is open again."""
    if not accepted:
        return {}
    snapshot = await apply_counts(
        tx,
        [line["sku"] for line, _, _, _ in accepted],
        [sheet["location"]] * len(accepted),
        [units for _, units, _, _ in accepted],
        at=at,
        as_of=[time if time < at else None for _, _, time, _ in accepted],
        document=str(sheet["sheet_id"]),
    )
    refused = {}
    for index, (line, units, time, expected) in enumerate(accepted):
        if index in snapshot.refused:
            refused[line["line_no"]] = snapshot.refused[index].detail
            if line["state"] != State.OPEN:
                await _write(tx, sheet["sheet_id"], line, State.OPEN, None, None, None)
        else:
            await _write(tx, sheet["sheet_id"], line, State.ACCEPTED, units, time, expected)
    return refused


async def _write(
    tx: Tx,
    sheet_id: UUID,
    line: Any,
    state: State,
    counted: int | None,
    counted_at: datetime | None,
    expected: int | None,
) -> None:
    await sql.move_line(
        tx,
        sheet_id=sheet_id,
        line_no=line["line_no"],
        was=line["state"],
        state=state,
        counted=counted,
        counted_at=counted_at,
        expected=expected,
    )


async def _locked(tx: Tx, sheet_id: UUID) -> tuple[Any, dict[int, Any]]:
    rows = await sql.lock_sheet(tx, sheet_id=sheet_id)
    if not rows:
        raise NotFound(f"There is no count sheet {sheet_id}.")
    return rows[0], {row["line_no"]: row for row in await sql.sheet_lines(tx, sheet_id=sheet_id)}


async def sheet_of(tx: Tx, sheet_id: UUID) -> Sheet:
    """Blind: what is expected is told of no line that is still to be counted. Raises ``NotFound``."""
    rows = await sql.sheet_by_id(tx, sheet_id=sheet_id)
    if not rows:
        raise NotFound(f"There is no count sheet {sheet_id}.")
    lines = []
    for row in await sql.sheet_lines(tx, sheet_id=sheet_id):
        if row["state"] in (State.ACCEPTED, State.WAITING):
            values = (row["counted"], row["counted_at"], row["expected"], row["counted"] - row["expected"])
            lines.append(SheetLine(row["sku"], row["state"], *values))
        else:
            lines.append(SheetLine(row["sku"], row["state"], None, None, None, None))
    return Sheet(**rows[0], lines=lines)


async def sheets_before(
    tx: Tx, before: UUID, limit: int, *, location: str | None, within: Sequence[str] | None = None
) -> list[SheetHead]:
    """One page, newest first: of one location or all, and of those ``within`` if they are given."""
    rows = await sql.sheets_page(tx, before=before, limit=limit, location=location, within=within)
    return [SheetHead(**row) for row in rows]
