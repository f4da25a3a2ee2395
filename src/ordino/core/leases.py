"""Leases: what outlasts a transaction is one worker's as long as that renews its lease.

LEA-1  A lease is renewed every third of its length while its work goes on. It is compared by the database's clock only, so workers
       whose clocks differ agree on when it ends, and the business's clock does not matter.
LEA-2  A worker knows until when its leases hold at least, by a clock that nobody sets, from before it asked for them. After that
       it begins no call, and stops its job or recurring work: another worker may have taken it.

A worker that was suspended finds out late. What a job or recurring work does on the database is therefore fenced: its last
statement in each transaction asks for the lease, and without it nothing is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from ordino.core.clock import Clock, elapsed_seconds
from ordino.core.database import Database
from ordino.core.effects import Task
from ordino.core.errors import OrdinoError, Unavailable
from ordino.core.outage import Outage
from ordino.core.statements import statements

sql = statements("ordino.core")
T = TypeVar("T")
SAFE_SHARE = 0.9
"""A holder stops counting on a lease a tenth before its end: clocks are read over the network."""
TRY_AGAIN_SECONDS = 1.0


class Held:
    """One task in hand, and until when it is safely so, in ``elapsed_seconds``."""

    __slots__ = ("good_until", "lease", "task")

    def __init__(self, task: Task, lease: UUID, good_until: float) -> None:
        self.task = task
        self.lease = lease
        self.good_until = good_until

    @property
    def is_good(self) -> bool:
        return elapsed_seconds() < self.good_until


class Leases:
    """All tasks that one worker has in hand. While there are any, one statement renews them every third of a lease."""

    def __init__(self, database: Database, *, seconds: float, wall: Clock, outage: Outage) -> None:
        self.database = database
        self.seconds = seconds
        self._wall = wall
        self._outage = outage
        self._held: dict[UUID, Held] = {}
        self._heart: asyncio.Task[None] | None = None

    def hold(self, tasks: Sequence[Task], lease: UUID, *, asked_at: float) -> list[Held]:
        """These are in hand now. ``asked_at`` is when the database was asked for them, in ``elapsed_seconds``."""
        held = [Held(task, lease, asked_at + self.seconds * SAFE_SHARE) for task in tasks]
        self._held.update({one.task.id: one for one in held})
        if held and self._heart is None:
            self._heart = asyncio.create_task(self._beat())
        return held

    def drop(self, held: Held) -> None:
        """This one is settled, or somebody else's."""
        if self._held.get(held.task.id) is held:
            del self._held[held.task.id]
        if not self._held and self._heart is not None:
            self._heart.cancel()
            self._heart = None

    async def renew(self) -> None:
        """Everything in hand is leased from now on again. What the database does not confirm keeps the end that it had."""
        held = list(self._held.values())
        asked_at = elapsed_seconds()
        until = self._wall.now() + timedelta(seconds=self.seconds)
        rows = await self.database.transact(
            lambda tx: sql.renew_leases(
                tx,
                buckets=[one.task.bucket for one in held],
                ids=[one.task.id for one in held],
                leases=[one.lease for one in held],
                until=until,
            ),
            seconds=self.seconds,
        )
        renewed = {row["id"] for row in rows}
        for one in held:
            if one.task.id in renewed:
                one.good_until = asked_at + self.seconds * SAFE_SHARE

    async def hold_on(self) -> None:
        """What is in hand here is leased anew if its leases may have ended, as after an outage or a suspension: before anybody
        takes it for lost.
        """
        if not all(one.is_good for one in self._held.values()):
            await self.renew()

    async def _beat(self) -> None:
        pause_seconds = self.seconds / 3
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(pause_seconds)
                try:
                    await self.renew()
                    pause_seconds = self.seconds / 3
                except Exception as error:
                    self._outage.note(error, "renewing leases")
                    pause_seconds = min(self.seconds / 3, TRY_AGAIN_SECONDS)


class LeaseLost(OrdinoError):
    """Another worker has taken the work over, or may have."""

    def __init__(self) -> None:
        super().__init__("The lease could not be renewed in time; another worker goes on.")


async def while_leased(
    work: Callable[[], Awaitable[T]], renew: Callable[[], Awaitable[bool]], *, seconds: float, since: float
) -> T:
    """Do ``work`` under a lease of so many ``seconds`` that was asked for at ``since``, in ``elapsed_seconds``. Every third of that
    time it is renewed; ``renew`` says False where it is another's. Work is cancelled, and ``LeaseLost`` raised, once the lease is
    lost.
    """
    ends = since + seconds
    working = asyncio.ensure_future(work())
    try:
        while True:
            await asyncio.wait({working}, timeout=max(0.0, min(seconds / 3, ends - elapsed_seconds())))
            if working.done():
                return working.result()
            asked = elapsed_seconds()
            if asked >= ends:
                raise LeaseLost
            if await _renewed(renew, ends - asked):
                ends = asked + seconds
    finally:
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working


async def _renewed(renew: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether the lease goes on from now; False where the database did not say. Raises ``LeaseLost``."""
    try:
        async with asyncio.timeout(seconds):
            if not await renew():
                raise LeaseLost
        return True
    except (Unavailable, TimeoutError):
        return False
