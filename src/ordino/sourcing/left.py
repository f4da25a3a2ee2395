"""What is left of stock and of the locations' days while the requests of one sitting are answered, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from ordino.catalog.kits import Parts
from ordino.inventory.rules import Book
from ordino.network.facts import NetworkFacts
from ordino.sourcing.model import Leg, Request, Seen

Stock = Mapping[int, Mapping[int, int]]
"""SKU id -> location id -> free units."""
Capacity = Mapping[tuple[int, date], tuple[int, int]]
"""(location id, day of shipping) -> orders and units taken on."""
Cover = dict[int, int]
"""SKU id -> units."""
NO_LIMIT = 1 << 62


class Room:
    """What a location can take on: ``after`` working days from now, on ``day``, so many orders and units."""

    __slots__ = ("after", "day", "limit", "orders", "units")

    def __init__(self, day: date, after: int, orders: int, units: int, limit: int | None) -> None:
        self.day = day
        self.after = after
        self.orders = orders
        self.units = units
        self.limit = limit


class Rooms:
    """The locations' days as one request sees them. Those without limits have room, and need no day until they ship."""

    __slots__ = ("_at", "_backlog_days", "_days", "_found", "_left", "_limited")

    def __init__(self, left: Left, at: datetime, backlog_days: int, days: Mapping[int, int]) -> None:
        self._left = left
        self._at = at
        self._backlog_days = backlog_days
        self._limited = left.facts.limited
        self._days = dict(days)  # where the order has a place already, with the backlog of that day
        self._found: dict[int, Room | None] = {}  # as it was when it was first asked for

    def find(self, location_id: int) -> Room | None:
        """The first day with room; None if all are full."""
        if location_id not in self._found:
            days = range(self._backlog_days + 1)
            if (after := self._days.get(location_id)) is not None:
                days = range(after, after + 1)
            self._found[location_id] = self._left.room(location_id, self._at, days, has_place=after is not None)
        return self._found[location_id]

    def seen(self, location_id: int) -> Seen | None:
        """As it is told; None of a location without limits."""
        if location_id not in self._limited:
            return None
        room = self.find(location_id) or self._left.day(location_id, self._at)
        return Seen(
            room.day,
            None if room.orders >= NO_LIMIT else max(0, room.orders),
            None if room.units >= NO_LIMIT else max(0, room.units),
        )

    def of(self, location_id: int) -> Room:
        """Of a location that has one."""
        room = self.find(location_id)
        assert room is not None, "the fence has let it pass"
        return room

    def after(self, location_id: int) -> int:
        """Working days that the work has to wait for room."""
        return self.of(location_id).after if location_id in self._limited else 0


class Left:
    """Changed by ``take`` and ``give_back`` alone. Nothing that is passed in is changed."""

    def __init__(self, stock: Stock, facts: NetworkFacts, capacity: Capacity, book: Book | None) -> None:
        self.facts = facts
        self.book = book
        self._stock = stock
        self._free: dict[int, dict[int, int]] = {}
        self._taken: dict[tuple[int, int], dict[int, int]] = {}  # by channels, in this sitting
        self._used = dict(capacity)

    def free(self, sku_id: int) -> dict[int, int]:
        """Location id -> units that nobody has."""
        left = self._free.get(sku_id)
        if left is None:
            left = self._free[sku_id] = dict(self._stock.get(sku_id, ()))
        return left

    def hold(self, request: Request, sign: int = 1) -> None:
        """What is kept for a request is free for it; taken away again with ``sign`` -1."""
        for (sku_id, location_id), units in request.held.items():
            free = self.free(sku_id)
            free[location_id] = free.get(location_id, 0) + sign * units

    def covers(
        self,
        request: Request,
        wanted: Cover,
        kits: Mapping[int, Parts],
        excluded: Mapping[int, frozenset[int]],
        leave: int,
    ) -> dict[int, Cover]:
        """Location id -> what it could give of everything together, above its buffer and ``leave`` more units of each SKU."""
        if self.book is not None or kits or request.held:
            return self._covers_by_rules(request, wanted, kits, excluded, leave)
        covers: dict[int, Cover] = {}
        buffers = request.network.buffers
        for sku_id, units in wanted.items():
            barred = excluded.get(sku_id, ())
            for location_id, free in self.free(sku_id).items():
                buffer = buffers.get(location_id)
                if buffer is None:
                    continue
                able = free - buffer - leave
                if able <= 0 or location_id in barred:
                    continue
                cover = covers.get(location_id)
                if cover is None:
                    cover = covers[location_id] = {}
                cover[sku_id] = units if able > units else able
        return covers

    def whole(
        self,
        request: Request,
        wanted: Cover,
        kits: Mapping[int, Parts],
        excluded: Mapping[int, frozenset[int]],
        leave: int,
    ) -> list[int] | None:
        """The locations that have all of it; None where rules, kits or holds make that more than a comparison."""
        if self.book is not None or kits or request.held or excluded:
            return None
        buffers = request.network.buffers
        whole: list[int] | None = None
        for sku_id, units in wanted.items():
            free, need = self.free(sku_id), units + leave
            if whole is None:
                whole = [n for n, there in free.items() if there >= need and there - buffers.get(n, NO_LIMIT) >= need]
            else:
                whole = [n for n in whole if free.get(n, 0) - buffers[n] >= need]
        return whole

    def _covers_by_rules(
        self,
        request: Request,
        wanted: Cover,
        kits: Mapping[int, Parts],
        excluded: Mapping[int, frozenset[int]],
        leave: int,
    ) -> dict[int, Cover]:
        parts = {sku_id: kits.get(sku_id) or ((sku_id, 1),) for sku_id in wanted}
        places = {place for of in parts.values() for sku_id, _ in of for place in self.free(sku_id)}
        covers: dict[int, Cover] = {}
        for location_id in places & request.network.buffers.keys():
            left: dict[int, int] = {}
            for sku_id, units in wanted.items():
                if location_id in excluded.get(sku_id, ()):
                    continue
                given = units
                for component, each in parts[sku_id]:
                    if component not in left:
                        left[component] = self.able(request, component, location_id, leave)
                    given = min(given, left[component] // each)
                if given > 0:
                    covers.setdefault(location_id, {})[sku_id] = given
                    for component, each in parts[sku_id]:
                        left[component] -= given * each
        return covers

    def able(self, request: Request, sku_id: int, location_id: int, leave: int = 0) -> int:
        """What this request may have of a position: what is held for it, and what is free above all that is withheld."""
        free, held = self.free(sku_id).get(location_id, 0), request.held.get((sku_id, location_id), 0)
        withheld = request.network.buffers[location_id]
        if self.book is not None:
            location, taken = self.facts.locations[location_id], self._taken.get((sku_id, location_id), {})
            withheld = self.book.withheld(request.network, request.channel_id, sku_id, location, taken)
        return max(min(held, free) + max(free - held - withheld, 0) - leave, 0)

    def take(
        self,
        request: Request,
        location_id: int,
        given: Cover,
        kits: Mapping[int, Parts],
        room: Room,
        sign: int = 1,
        *,
        orders: int = 1,
    ) -> None:
        """Units and a place of the day go (none, where the order has one: ``orders`` 0); with ``sign`` -1 they come back."""
        for sku_id, units in given.items():
            for component, each in kits.get(sku_id) or ((sku_id, 1),):
                self.free(component)[location_id] -= sign * units * each
                if self.book is not None and request.channel_id is not None:
                    taken = self._taken.setdefault((component, location_id), {})
                    taken[request.channel_id] = taken.get(request.channel_id, 0) + sign * units * each
        if room.orders < NO_LIMIT or room.units < NO_LIMIT:
            key = (location_id, room.day)
            taken_on, pieces = self._used.get(key, (0, 0))
            self._used[key] = (taken_on + sign * orders, pieces + sign * sum(given.values()))

    def follow(self, request: Request, legs: Sequence[Leg], kits: Mapping[int, Parts]) -> None:
        """Units and places go as a decision says; what was kept for the order is free for others."""
        if legs:
            self.hold(request)
        for leg in legs:
            room = Room(leg.ship_on, 0, NO_LIMIT, NO_LIMIT, None)
            if leg.location_id in self.facts.limited:
                room = Room(leg.ship_on, 0, 0, 0, None)
            self.take(request, leg.location_id, leg.given(), kits, room)

    def room(self, location_id: int, at: datetime, days: range, *, has_place: bool = False) -> Room | None:
        """The first of these working days on which it can take on more; None if all are full. An order that ``has_place`` needs
        no other.
        """
        for after in days:
            room = self.day(location_id, at, after)
            if (room.orders > 0 or has_place) and room.units > 0:
                return room
        return None

    def day(self, location_id: int, at: datetime, after: int = 0) -> Room:
        """What its day so many working days from now has left, be it nothing."""
        facts = self.facts
        day = facts.ship_by(location_id, at, None, after).astimezone(facts.locations[location_id].zone).date()
        orders, units = facts.order_limit(location_id, day), facts.unit_limit(location_id, day)
        used = self._used.get((location_id, day), (0, 0))
        return Room(
            day,
            after,
            NO_LIMIT if orders is None else orders - used[0],
            NO_LIMIT if units is None else units - used[1],
            orders,
        )
