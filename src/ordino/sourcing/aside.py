"""Decisions that take long, taken in a thread: whatever else the process has to answer is answered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from ordino.inventory.rules import Book
from ordino.network.facts import NetworkFacts
from ordino.sourcing.condition import budget
from ordino.sourcing.decide import NO_OUTLOOK, decide
from ordino.sourcing.left import Capacity, Stock
from ordino.sourcing.model import Decision, Outlook, Request
from ordino.sourcing.profile import Profile
from ordino.sourcing.versions import Profiles

T = TypeVar("T")
Policy = Profile | Profiles
AT_ONCE = 30_000
"""So many steps (``sourcing.steps``), about a microsecond each, are taken at once; more go to a thread."""
MANY_LINES = 100
STEPS_A_LINE = 50
"""What each line beyond ``MANY_LINES`` takes, whatever the conditions."""


async def aside(
    work: Callable[[NetworkFacts, Policy], T],
    requests: Sequence[Request],
    facts: NetworkFacts,
    policy: Policy,
    *,
    times: int = 1,
) -> T:
    """What ``work`` makes of the network and the profiles. It is done in a thread if the orders are large or the conditions
    that are asked of them, ``times`` times, are costly; what it remembers meanwhile is then the thread's own.
    """
    if not takes_long(requests, policy, times=times):
        return work(facts, policy)
    policy = policy if isinstance(policy, Profile) else policy.apart()
    return await asyncio.to_thread(work, facts.apart(), policy)


async def decide_aside(
    requests: Sequence[Request],
    stock: Stock,
    facts: NetworkFacts,
    policy: Policy,
    capacity: Capacity | None = None,
    book: Book | None = None,
    outlook: Outlook = NO_OUTLOOK,
    *,
    tell: bool = True,
) -> list[Decision]:
    """As ``decide``, and ``aside`` where that takes long."""

    def work(facts: NetworkFacts, policy: Policy) -> list[Decision]:
        return decide(requests, stock, facts, chosen_by(policy), capacity, book, outlook, tell=tell)

    return await aside(work, requests, facts, policy)


def chosen_by(policy: Policy) -> Profile | Callable[[Request], Profile]:
    """The profile, or what chooses one for a request."""
    return policy if isinstance(policy, Profile) else policy.for_request


def takes_long(requests: Sequence[Request], policy: Policy, *, times: int = 1) -> bool:
    """Whether deciding these would keep others waiting."""
    steps = 0.0
    for request in requests:
        lines = len(request.needs)
        if lines > MANY_LINES:
            steps += (lines - MANY_LINES) * STEPS_A_LINE
        profile = policy if isinstance(policy, Profile) else policy.for_request(request)
        for strategy in profile.strategies:
            if strategy.when is not None:
                steps += min(strategy.when.steps(lines), budget(lines))
        if steps * times > AT_ONCE:
            return True
    return False
