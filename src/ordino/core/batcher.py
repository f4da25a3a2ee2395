"""Single requests become sets: while one set runs, the next one gathers. No timer.

BAT-1  Every submitted item gets exactly one outcome, its own.
BAT-2  An item that breaks its set fails alone: the set is halved until the culprit stands by itself.
BAT-3  Where the database is away, whoever waits is told so with the set that found out, and not one set after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from time import monotonic
from typing import Any, Generic, TypeVar

from ordino.core.errors import Away, OutcomeUnknown, Unavailable

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


SMALL = 16
"""A set of so many is worth its transaction: fewer are not shared among lanes."""
NOT_BEGUN = "The database does not answer, and this request was not begun. Nothing was changed; try again."


class Batcher(Generic[Item, Outcome]):
    """Runs ``run`` on sets of what callers submit one by one.

    ``run`` takes up to ``size`` items and returns one outcome an item, in order. At most ``lanes`` sets run at once.
    When ``queue_size`` items wait, further callers wait, too.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        size: int = 256,
        lanes: int = 1,
        queue_size: int = 10_000,
    ) -> None:
        self._run = run
        self._size = size
        self._room = asyncio.Semaphore(queue_size)
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._free_lanes = lanes
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved_at = 0.0
        self._closed = False

    @property
    def busy(self) -> bool:
        """Is a set under way?"""
        return bool(self._tasks)

    @property
    def stalled_seconds(self) -> float:
        """For how long sets have been under way without any of them coming to an end."""
        return monotonic() - self._moved_at if self._tasks else 0.0

    async def submit(self, item: Item) -> Outcome:
        """The outcome of ``item``, once the set that it joined is durable."""
        async with self._room:
            if self._closed:
                raise Unavailable("The server is shutting down; send the request again.")
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, future))
            self._start()
            return await future

    def _start(self) -> None:
        if self._free_lanes:
            self._free_lanes -= 1
            if not self._tasks:
                self._moved_at = monotonic()
            # Nobody's context: the set is of many.
            task = asyncio.create_task(self._work(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _share(self) -> int:
        """How many to take: what waits is shared with lanes that are free, or all lanes would march in step behind one."""
        share = -(-len(self._waiting) // (self._free_lanes + 1))
        count = min(self._size, len(self._waiting), max(share, SMALL))
        if len(self._waiting) > count:
            self._start()
        return count

    async def close(self) -> None:
        """Finish what was submitted, accept nothing more."""
        self._closed = True
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _work(self) -> None:
        try:
            await asyncio.sleep(0)  # whoever is ready in this turn of the loop joins the set
            while self._waiting:
                count = self._share()
                await self._settle([self._waiting.popleft() for _ in range(count)])
                self._moved_at = monotonic()
        finally:
            self._free_lanes += 1

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._run([item for item, _ in batch])
        except Unavailable as error:
            _tell(batch, error)
            if isinstance(error, Away):
                waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
                _tell(waiting, Away(NOT_BEGUN) if isinstance(error, OutcomeUnknown) else error)
        except Exception as error:
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        else:
            assert len(outcomes) == len(batch), "a verb returns one outcome an item"
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)


def _tell(batch: Iterable[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
