"""The decision itself: a pure function of what is asked, what is free, the network and the profile.

Orders of a set are decided one after the other, and then may give way to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ordino.catalog.kits import Parts
from ordino.inventory.rules import Book
from ordino.network.facts import NetworkFacts
from ordino.sourcing.left import Capacity, Left, Stock
from ordino.sourcing.model import (
    Decision,
    Need,
    Outlook,
    Request,
)
from ordino.sourcing.profile import Profile
from ordino.sourcing.sitting import Sitting

TRIES = 8
"""So often an order asks others of its set to give way."""
TEMPTING = 4
"""At so many locations it asks, for each SKU; the cheapest first."""

Policy = Profile | Callable[[Request], Profile]
NO_OUTLOOK = Outlook()


def decide(
    requests: Sequence[Request],
    stock: Stock,
    facts: NetworkFacts,
    policy: Policy,
    capacity: Capacity | None = None,
    book: Book | None = None,
    outlook: Outlook = NO_OUTLOOK,
    *,
    tell: bool = True,
    exchange: bool = True,
) -> list[Decision]:
    """One decision a request, in order: earlier requests take first. Nothing that is passed in is changed.

    ``policy`` is one profile for all, or chooses one for each request. ``book`` holds the rules over the stock; without it,
    only the networks' own buffers withhold units. ``outlook`` is asked where a profile looks at demand. Without ``tell``, the
    candidates that lost are not told. With ``exchange``, an order gives way to a later one of the set where both cost less
    together for it, both are filled as before, and no promise breaks.
    """
    left = Left(stock, facts, capacity or {}, book)
    sittings = [Sitting(request, left, profile_of(policy, request), outlook, tell=tell) for request in requests]
    decisions = [sitting.answer() for sitting in sittings]
    if exchange and len(sittings) > 1:
        for index in exchanged(sittings):
            decisions[index] = sittings[index].decision()
    return decisions


def stocked(requests: Iterable[Request]) -> list[int]:
    """The SKUs that these requests take from stock: of kits, the components."""
    return sorted({sku_id for request in requests for need in request.needs for sku_id, _ in _parts(need)})


def _parts(need: Need) -> Parts:
    return need.parts or ((need.sku_id, 1),)


def profile_of(policy: Policy, request: Request) -> Profile:
    return policy if isinstance(policy, Profile) else policy(request)


def exchanged(sittings: Sequence[Sitting]) -> list[int]:
    """Which orders of a set are better served because an earlier one gave way, and which gave way.

    Only where the set has used up a position: who holds its last units is decided anew without them, after who could use them
    better, and that stands if both together cost less.
    """
    left = sittings[0].left
    holders: dict[tuple[int, int], list[int]] = {}
    for index, sitting in enumerate(sittings):
        if sitting.whole and not sitting.kits:
            buffers = sitting.request.network.buffers
            for n, given in sitting.takes[0].plan.items():
                for sku_id in given:
                    if left.free(sku_id)[n] <= buffers.get(n, 0):
                        holders.setdefault((sku_id, n), []).append(index)
    if not holders:
        return []
    by_sku: dict[int, list[int]] = {}
    for sku_id, n in holders:
        by_sku.setdefault(sku_id, []).append(n)
    changed: set[int] = set()
    for index, sitting in enumerate(sittings):
        if sitting.whole and not sitting.kits:
            changed |= _exchanged(index, sittings, holders, by_sku)
    return sorted(changed)


def _exchanged(
    index: int,
    sittings: Sequence[Sitting],
    holders: Mapping[tuple[int, int], Sequence[int]],
    by_sku: Mapping[int, Sequence[int]],
) -> set[int]:
    """One order asks those before it to give way."""
    mine, tries = sittings[index], 0
    changed: set[int] = set()
    for sku_id in dict.fromkeys(need.sku_id for need in mine.request.needs if need.sku_id in by_sku):
        for n in _tempting(mine, sku_id, by_sku[sku_id]):
            for other in holders[sku_id, n]:
                holder = sittings[other]
                if holder.request.currency != mine.request.currency:
                    continue  # what both cost together cannot be said
                if other >= index or tries >= TRIES or not holder.whole or n not in holder.takes[0].plan:
                    continue
                tries += 1
                if _give_way(holder, mine):
                    changed |= {index, other}
                    break
    return changed


def _tempting(sitting: Sitting, sku_id: int, places: Sequence[int]) -> list[int]:
    """Where this order would rather have a SKU from than where it has it from, the cheapest first."""
    [take] = sitting.takes
    total, quotes, rooms = take.view.costs.total, take.view.costs.quotes, take.view.rooms
    here, request = take.plan, sitting.request
    serving = sitting.facts.serving_country(request.country)
    most = max((total(n, given) for n, given in here.items() if sku_id in given), default=0)
    one = {sku_id: 1}
    found = sorted(
        (total(n, one), n)
        for n in places
        if n not in here and n in serving and n in request.network.buffers and quotes(n, one) and rooms.find(n)
    )
    return [n for cost, n in found[:TEMPTING] if cost < most or len(here) > 1]


def _give_way(holder: Sitting, other: Sitting) -> bool:
    """Whether both cost less together when the holder lets go, the other chooses first, and the holder anew."""
    before, was = holder.cost() + other.cost(), (holder.found, other.found)
    had = holder.let_go(), other.let_go()
    if other.take_again() and holder.take_again() and holder.cost() + other.cost() < before:
        return True
    holder.let_go()
    other.let_go()
    holder.put_back(had[0], was[0])
    other.put_back(had[1], was[1])
    return False
