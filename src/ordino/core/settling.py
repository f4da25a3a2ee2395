"""Writing down what became of calls: in sets, each by itself where a set fails, and for as long as the database is away."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from ordino.core import accounts
from ordino.core.batcher import Batcher
from ordino.core.database import Tx
from ordino.core.effects import Effect, Outcome, failed, postpone
from ordino.core.errors import Unavailable
from ordino.core.failures import Failure, words_of
from ordino.core.leases import Held
from ordino.core.statements import statements
from ordino.core.turns import Shared

sql = statements("ordino.core")
log = logging.getLogger("ordino.reactions")


class Settler:
    """Writes down the outcomes of one kind of effect. ``ending``: what cannot be written down while its lease is good is left."""

    def __init__(self, kind: str, effect: Effect, shared: Shared) -> None:
        self.kind = kind
        self.effect = effect
        self.shared = shared
        self.ending = False
        self._sets: Batcher[Outcome, None] = Batcher(self._write, size=shared.batch_size)

    async def settle(self, outcome: Outcome, held: Held, now: Callable[[], datetime]) -> None:
        """Write it down. While the database is away it is kept, even if the lease ends: whoever is first when it is back has it."""
        task = outcome.task
        settle: Callable[[Outcome], Awaitable[object]] = self._sets.submit
        while True:
            try:
                await settle(outcome)
                return
            except Unavailable as error:
                self.shared.outage.note(error, f"writing down {task.kind} for {task.subject_id}")
                if self.ending and not held.is_good:
                    break
                settle = self._write_alone  # it waits for no other, and no other for it
                await asyncio.sleep(random.uniform(0.2, 1))
            except Exception as error:
                if outcome.later is not None:
                    log.exception("%s for %s could not be put off", task.kind, task.subject_id)
                    break
                outcome = self._not_written_down(outcome, error, now)
        log.error("%s for %s was not settled; it is taken up again when its lease ends", task.kind, task.subject_id)

    async def settle_together(
        self, outcomes: Sequence[Outcome], held: Sequence[Held], now: Callable[[], datetime]
    ) -> None:
        """Write them down in one transaction; if that fails, each by itself."""
        try:
            await self._write(outcomes)
        except Exception:
            await asyncio.gather(*(self.settle(one, its, now) for one, its in zip(outcomes, held, strict=True)))

    def _not_written_down(self, outcome: Outcome, error: Exception, now: Callable[[], datetime]) -> Outcome:
        """It was called and answered, and the answer cannot be settled: it is called once more. After that it is for a person."""
        task = outcome.task
        log.error(
            "%s for %s was answered, and the answer cannot be settled", task.kind, task.subject_id, exc_info=error
        )
        later = failed(
            task,
            task.attempts,
            error,
            now(),
            wall_at=self.shared.wall.now(),
            max_attempts=self.shared.max_attempts,
            failure=Failure.NOT_WRITTEN_DOWN,
            for_good=task.failure == Failure.NOT_WRITTEN_DOWN,
        )
        words = f"It was answered, and the answer could not be written down. {words_of(error)}"
        later = msgspec.structs.replace(later, error=words)
        return msgspec.structs.replace(outcome, answer=None, later=later)

    async def _write(self, outcomes: Sequence[Outcome]) -> Sequence[None]:
        await self.shared.database.transact(lambda tx: self._write_in(tx, outcomes))
        return [None] * len(outcomes)

    async def _write_alone(self, outcome: Outcome) -> None:
        await self._write([outcome])

    async def _write_in(self, tx: Tx, outcomes: Sequence[Outcome]) -> None:
        done = [outcome for outcome in outcomes if outcome.later is None]
        if done:
            rows = await sql.finish_leased(
                tx,
                buckets=[one.task.bucket for one in done],
                ids=[one.task.id for one in done],
                leases=[one.lease for one in done],
            )
            mine = {row["id"] for row in rows}
            kept = [one for one in done if one.task.id in mine and one.answer is not None]
            if kept:
                at = max(one.at for one in kept)
                await self.effect.settle(tx, [(one.task, one.answer) for one in kept], at)
        await accounts.served(tx, {one.serves for one in outcomes if one.serves is not None})
        await accounts.undecided(tx, [one.undecided for one in outcomes if one.undecided is not None])
        put_off = [(one.task, one.lease, one.later) for one in outcomes if one.later is not None]
        await postpone(tx, put_off, wall=self.shared.wall)
