"""Counts of any length, applied in sets as they come, each durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ordino.core.bulk import RowFault
from ordino.core.database import Database
from ordino.core.errors import Fault
from ordino.core.upserts import fault_of
from ordino.inventory.adjust import Count, apply_counts

ROWS_AT_ONCE = 4000
LANES = 2
FAULTS_TOLD = 1000


class Applied(Struct, frozen=True):
    """What became of a feed. At most the first 1,000 faults are told, with their lines; ``refused`` counts all."""

    rows: int
    applied: int
    unchanged: int
    refused: int
    faults: list[RowFault]


async def feed(database: Database, rows: AsyncIterator[tuple[int, Any]]) -> Applied:
    """Apply counted rows, a few sets at a time. Of a position that comes again, the last row counts.

    To repeat a feed that broke off is safe.
    """
    sets = _Sets(database)
    batch: list[tuple[int, Any]] = []
    async for row in rows:
        batch.append(row)
        if len(batch) >= ROWS_AT_ONCE:
            await sets.start(batch)
            batch = []
    if batch:
        await sets.start(batch)
    return await sets.end()


class _Sets:
    """The sets of one feed, up to ``LANES`` side by side, and what became of their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._running: dict[asyncio.Task[None], set[tuple[str, str]]] = {}  # with the positions that each is about
        self._failed: list[BaseException] = []
        self._faults: list[RowFault] = []
        self._rows = self._applied = self._refused = 0

    async def start(self, batch: Sequence[tuple[int, Any]]) -> None:
        """Begin a set, once there is room and none that is under way is about a position of it."""
        lines, counts = self._sound(batch)
        positions = {(count.sku, count.location) for count in counts}
        while len(self._running) >= LANES or not all(map(positions.isdisjoint, self._running.values())):
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failed()
        self._rows += len(batch)
        task = asyncio.create_task(self._apply(lines, counts))
        self._running[task] = positions
        task.add_done_callback(self._ended)

    async def end(self) -> Applied:
        """Wait for the last sets. Raises what broke one of them."""
        while self._running:
            await asyncio.wait(self._running)
        self._raise_failed()
        faults = sorted(self._faults, key=lambda fault: fault.line)
        unchanged = self._rows - self._applied - self._refused
        return Applied(self._rows, self._applied, unchanged, self._refused, faults)

    def _sound(self, batch: Sequence[tuple[int, Any]]) -> tuple[list[int], list[Count]]:
        lines, counts = [], []
        for line, item in batch:
            if isinstance(item, Fault):
                self._tell(line, item)
                continue
            try:
                counts.append(item if type(item) is Count else msgspec.convert(item, Count, strict=False))
            except msgspec.ValidationError as error:
                self._tell(line, fault_of(error))
            else:
                lines.append(line)
        return lines, counts

    async def _apply(self, lines: Sequence[int], counts: Sequence[Count]) -> None:
        columns = [c.sku for c in counts], [c.location for c in counts], [c.on_hand for c in counts]
        at = self._database.clock.now()
        snapshot = await self._database.transact(lambda tx: apply_counts(tx, *columns, at=at))
        for index, refused in snapshot.refused.items():
            self._tell(lines[index], Fault(refused.pointer, refused.detail))
        self._applied += len(snapshot.changed)

    def _tell(self, line: int, fault: Fault) -> None:
        self._refused += 1
        if len(self._faults) < FAULTS_TOLD:
            self._faults.append(RowFault(line, fault.pointer, fault.detail))

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()):
            self._failed.append(error)

    def _raise_failed(self) -> None:
        if self._failed:
            raise self._failed[0]
