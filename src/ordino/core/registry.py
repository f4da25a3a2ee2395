"""What stages register for workers: reactions, effects, subscriptions, recurring work and jobs, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from ordino.core.database import Tx
from ordino.core.effects import Effect, Task
from ordino.core.jobs import JobKind
from ordino.core.schedule import Duty, Interval, InTransaction, OnDatabase
from ordino.core.subscriptions import Follow, Start, Subscription, subscription

TIDIES = {
    "forget_answers": "Forget the answers to requests that nobody will send again.",
    "forget_jobs": "Forget jobs that were over long ago, with their rows.",
}
"""What every worker does besides what stages register."""

Reaction = Callable[[Tx, Sequence[Task], datetime], Awaitable[None]]
"""Runs in the transaction in which its tasks leave the queue."""


class Registry:
    """Reactions by name: what a flow may ask for."""

    def __init__(self) -> None:
        self.reactions: dict[str, Reaction] = {}
        self.effects: dict[str, Effect] = {}
        self.options: dict[str, frozenset[str]] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.duties: dict[str, Duty] = {}
        self.jobs: dict[str, JobKind] = {}

    def duty(self, name: str, *, every_seconds: Interval) -> Callable[[InTransaction], InTransaction]:
        """Done every so often while there is a worker, in one transaction, whoever it is (``core.schedule``)."""

        def register(run: InTransaction) -> InTransaction:
            self._add_duty(Duty(name=name, every_seconds=every_seconds, in_transaction=run))
            return run

        return register

    def leased_duty(self, name: str, *, every_seconds: Interval) -> Callable[[OnDatabase], OnDatabase]:
        """Done every so often while there is a worker, under a lease, for as long as it takes."""

        def register(run: OnDatabase) -> OnDatabase:
            self._add_duty(Duty(name=name, every_seconds=every_seconds, on_database=run))
            return run

        return register

    @property
    def recurring(self) -> dict[str, str]:
        """All recurring work, and a sentence that says what it does."""
        return {name: duty.sentence for name, duty in self.duties.items()} | TIDIES

    def _add_duty(self, duty: Duty) -> None:
        assert duty.name not in self.duties, f"two duties are named {duty.name}"
        self.duties[duty.name] = duty

    def job(self, kind: JobKind) -> JobKind:
        """A kind of job that people may start (``core.jobs``)."""
        assert kind.name not in self.jobs, f"two kinds of job are named {kind.name}"
        assert (kind.do is None) is not (kind.step is None), f"{kind.name} does rows or takes steps"
        self.jobs[kind.name] = kind
        return kind

    def reaction(self, name: str, *, options: Sequence[str] = ()) -> Callable[[Reaction], Reaction]:
        """``options`` are what a flow must say of it besides the delay."""

        def register(run: Reaction) -> Reaction:
            assert name not in self.names, f"two reactions are named {name}"
            self.reactions[name] = run
            self.options[name] = frozenset(options)
            return run

        return register

    def subscription(
        self, name: str, *, kinds: Sequence[str] | None = None, start: Start = "beginning"
    ) -> Callable[[Follow], Follow]:
        """Follows the event log (``core.subscriptions``): every event of these kinds, or of all, from the beginning or from the
        moment at which the subscription is first there. Raises ``Invalid`` for a kind that no stage has declared yet.
        """

        def register(run: Follow) -> Follow:
            assert name not in self.names, f"two reactions are named {name}"
            self.subscriptions[name] = subscription(name, kinds, start, run)
            self.reactions[name] = self.subscriptions[name].try_again
            return run

        return register

    def effect(self, name: str, effect: Effect) -> None:
        assert name not in self.names, f"two reactions are named {name}"
        self.effects[name] = effect

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.reactions) | frozenset(self.effects)


registry = Registry()
"""Where every stage's ``reactions.py`` registers what it can do."""
