"""Facts, and what is to follow from them.

A verb records its events in the transaction that makes them true; what the event's flow says should follow is
enqueued in the same transaction. ``ordino.core.reactions`` runs it after the commit. The events of one call are a set, which gets
its position in the log once it is committed (``ordino.core.log``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct

from ordino.core.ids import new_id, new_ids
from ordino.core.payloads import KINDS, Payload
from ordino.core.statements import statements

if TYPE_CHECKING:
    from ordino.core.database import Tx

sql = statements("ordino.core")
_encode = msgspec.json.Encoder().encode

BUCKETS = 64


class Step(Struct, frozen=True):
    """One reaction that follows an event, ``after_seconds`` later, with the options of the flow."""

    reaction: str
    after_seconds: int = 0
    options: dict[str, Any] = {}


FOLLOWS: dict[str, tuple[Step, ...]] = {}
"""What follows events that flows do not name, because they were written before these events existed."""


def follow(**kinds: tuple[Step, ...]) -> None:
    """A stage says what follows its events under flows that are older than they are. A flow that names the event, if only with an
    empty list, has the last word.
    """
    FOLLOWS.update(kinds)


class Event(Struct, frozen=True, gc=False):
    """Something that happened to ``subject_id`` (an order, where there is one). ``id`` is also the cause of its moves. ``payload``
    says what happened.
    """

    subject_id: UUID
    id: UUID
    at: datetime
    payload: Payload
    flow_version: int

    @property
    def kind(self) -> str:
        return self.payload.kind


class Due(NamedTuple):
    """A reaction of a subject that is to run at ``due_at`` or later. ``event_id`` is what it follows; ``data`` is what it is told,
    as JSON.
    """

    reaction: str
    subject_id: UUID
    event_id: UUID
    due_at: datetime
    data: str = "{}"


Plan = Mapping[str, tuple[Step, ...]]
"""Event kind -> what follows, of one flow version. A version never changes."""


async def _no_plan(tx: Tx, version: int) -> Plan:
    return {}


async def _no_active(tx: Tx) -> int:
    return 0


class Plans:
    """The plans of all flow versions seen so far. Versions are immutable, so keeping them is exact."""

    def __init__(
        self,
        load: Callable[[Tx, int], Awaitable[Plan]] = _no_plan,
        active: Callable[[Tx], Awaitable[int]] = _no_active,
    ) -> None:
        self._load = load
        self._active = active
        self._by_version: dict[int, Plan] = {}

    async def active(self, tx: Tx) -> int:
        """The version under which new orders are placed, as this transaction sees it."""
        return await self._active(tx)

    async def of(self, tx: Tx, version: int) -> Plan:
        plan = self._by_version.get(version)
        if plan is None:
            plan = self._by_version[version] = await self._load(tx, version)
        return plan


async def record(tx: Tx, events: Sequence[Event]) -> None:
    """Write the events and enqueue what follows from each, in one statement. Raises ``TypeError`` for a payload of a type that no
    stage has declared.
    """
    if not events:
        return
    for type_ in {type(event.payload) for event in events}:
        _check(type_)
    data = [_encode(event.payload).decode() for event in events]
    due: list[Due] = []
    for event, encoded in zip(events, data, strict=True):
        plan = await tx.plans.of(tx, event.flow_version)
        for step in plan.get(event.kind, FOLLOWS.get(event.kind, ())):
            due.append(
                Due(
                    step.reaction,
                    event.subject_id,
                    event.id,
                    event.at + timedelta(seconds=step.after_seconds) if step.after_seconds else event.at,
                    _merged(encoded, step.options) if step.options else encoded,
                )
            )
    await sql.record_events(
        tx,
        set_id=new_id(events[0].at),
        events=len(events),
        subject_ids=[e.subject_id for e in events],
        ids=[e.id for e in events],
        kinds=[e.kind for e in events],
        ats=[e.at for e in events],
        data=data,
        **{f"due_{name}": column for name, column in _columns(due, events[0].at).items()},
    )


def _check(type_: type[Payload]) -> None:
    """A type that nobody has declared could be written, and neither followed nor read."""
    declared = KINDS.get(type_.kind)
    if declared is None or declared.payload is not type_:
        raise TypeError(
            f"{type_.__name__} is not declared as the newest version of an event: give it a kind in its stage's events.py, and "
            "call declare(__name__) there."
        )


def _merged(encoded: str, options: Mapping[str, Any]) -> str:
    """The facts with the options of the flow, as JSON. An option stands after a fact of its name, and jsonb keeps the later one."""
    told = _encode(options).decode()
    return told if encoded == "{}" else f"{encoded[:-1]},{told[1:]}"


async def enqueue(tx: Tx, due: Sequence[Due], *, at: datetime) -> None:
    """These reactions run after the commit, whatever the flow of their subject says."""
    if due:
        await sql.enqueue(tx, **_columns(due, at))


def _columns(due: Sequence[Due], at: datetime) -> dict[str, list[Any]]:
    """The rows of the queue, column by column, with ids of the instant ``at``."""
    return {
        "buckets": [one.subject_id.int % BUCKETS for one in due],
        "ids": new_ids(at, len(due)),
        "kinds": [one.reaction for one in due],
        "subject_ids": [one.subject_id for one in due],
        "event_ids": [one.event_id for one in due],
        "ats": [one.due_at for one in due],
        "data": [one.data for one in due],
    }
