"""Which lines nothing could ever serve, however long they waited for stock.

Every location of the channel's network is asked as if it had stock, were open, and had room: destination, handling classes, the
fences of the routing profile, service level, carrier services, and what they take as one parcel. Those stay as they are until
somebody changes the network, the profile or the SKU; stock, closures, full days and rules over stock pass with time.

A location that is switched off counts: it may be switched on again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import IntEnum

from msgspec import Struct

from ordino.network.facts import Destination, Location, NetworkFacts
from ordino.network.rates import Route, heaviest, largest
from ordino.sourcing.condition import Asked
from ordino.sourcing.decide import Policy, profile_of
from ordino.sourcing.model import Need, Request
from ordino.sourcing.profile import Keep, Profile, Strategy
from ordino.sourcing.view import barred_by, large_piece


class Hurdle(IntEnum):
    """What stops a line at a location, in the order in which it is tested: of several locations, the last one reached is told."""

    DESTINATION = 1  # It does not ship to this country, or not to this postal code.
    HANDLING = 2  # It cannot handle a class of the SKU.
    PROFILE = 3  # No strategy of the routing profile uses it for this order.
    SERVICE = 4  # No carrier service reaches the address from there.
    LEVEL = 5  # None of the level that was asked for does.
    WEIGHT = 6  # One unit weighs more than any of them takes as a parcel.
    SIZE = 7  # One unit measures more than any of them takes as a parcel.
    GROUP = 8  # It could serve the line, but not all lines that are to come from one location with it.


class Never(Struct, frozen=True):
    """A line that nothing can ever serve. ``pointer`` names the field of an order or a question that stands against it."""

    line_no: int
    hurdle: Hurdle
    detail: str
    pointer: str


def never(
    request: Request, facts: NetworkFacts, policy: Policy, line_nos: Collection[int] | None = None
) -> dict[int, Never]:
    """Line number -> why it can never be served, of these lines of a request, or of all. Nothing is said of lines that can be."""
    profile = profile_of(policy, request)
    strategies = _asked(request, profile)
    bench = _Bench(request, facts)
    found: dict[int, Never] = {}
    for need in request.needs:
        if line_nos is not None and need.line_no not in line_nos:
            continue
        hurdle = _hurdle(bench, need, strategies)
        if hurdle is not None:
            found[need.line_no] = _told(bench, need, hurdle, profile)
    return found


class _Bench:
    """What all lines of a request are judged by."""

    def __init__(self, request: Request, facts: NetworkFacts) -> None:
        self.request = request
        self.facts = facts
        self.routes: Destination = facts.destination(request.country, request.postal_code)
        self.members = [facts.locations[n] for n in request.network.buffers]

    def route(self, location: Location) -> Route:
        """The services that reach the address, of the level that was asked for."""
        route, level = self.routes[location.location_id], self.request.service_level
        return route if level is None else route.of(level)


def _asked(request: Request, profile: Profile) -> list[Strategy]:
    """The strategies that are asked about the order, now or at another time of day."""
    found = []
    known = None
    for strategy in profile.strategies:
        if strategy.when is not None and not strategy.when.asks_time:
            known = known or Asked(request.facts())  # all strategies together have the steps of one order
            if strategy.when.answer(known) is not True:
                continue
        found.append(strategy)
    return found


def _hurdle(bench: _Bench, need: Need, strategies: Iterable[Strategy]) -> Hurdle | None:
    """The highest hurdle at which some location fails; None if one takes them all."""
    highest = Hurdle.DESTINATION
    for location in bench.members:
        found = _fails(bench, need, location)
        if found is None:
            using = [strategy for strategy in strategies if _uses(bench, strategy, location)]
            if not using:
                found = Hurdle.PROFILE
            elif any(_alone(bench, need, location, strategy) for strategy in using):
                return None
            else:
                found = Hurdle.GROUP
        highest = max(highest, found)
    return highest


def _fails(bench: _Bench, need: Need, location: Location) -> Hurdle | None:
    """The hurdle that stands whatever the profile says."""
    request = bench.request
    if request.country not in location.serves_countries or (
        location.serves_prefixes and not request.postal_code.startswith(location.serves_prefixes)
    ):
        return Hurdle.DESTINATION
    if not location.handles.issuperset(need.classes):
        return Hurdle.HANDLING
    route = bench.route(location)
    if not route.ways:
        return Hurdle.LEVEL if bench.routes[location.location_id].ways else Hurdle.SERVICE
    piece = large_piece(bench.facts, need)
    if piece is not None and not route.carrying(*piece).ways:
        return Hurdle.SIZE if route.carrying(piece[0], 0).ways else Hurdle.WEIGHT
    return None


def _uses(bench: _Bench, strategy: Strategy, location: Location) -> bool:
    """Whether the strategy's fences let the location serve the address."""
    fences, n = strategy.fences, location.location_id
    if n in barred_by(bench.facts, strategy):
        return False
    if fences.same_country and location.country != bench.request.country:
        return False
    if fences.within_km is None:
        return True
    km = bench.routes.km(n)
    return km is not None and km <= fences.within_km


def _alone(bench: _Bench, need: Need, location: Location, strategy: Strategy) -> bool:
    """Whether the location could serve all lines that the strategy wants from one location with this one."""
    if need.group is None or Keep.GROUPS not in strategy.keep:
        return True
    together = bench.request.whole or bench.request.needs
    return all(_fails(bench, other, location) is None for other in together if other.group == need.group)


# -- in words ----------------------------------------------------------------------------------------------------------


def _told(bench: _Bench, need: Need, hurdle: Hurdle, profile: Profile) -> Never:
    said, remedy, pointer = _SENTENCES[hurdle](bench, need, profile)
    line = f"/lines/{need.line_no - 1}/sku"
    detail = f"Line {need.line_no} ({need.sku!r}) can never be served: {said}. {remedy}"
    return Never(need.line_no, hurdle, detail, pointer or line)


def _destination(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    request = bench.request
    there = f"{request.postal_code} in {request.country}"
    said = f"no location of the network {request.network.code!r} ships to {there}"
    return said, "Send it to another address, or add this destination to a location (PUT /v1/locations).", "/ship_to"


def _handling(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    classes = ", ".join(repr(name) for name in need.classes)
    said = f"no location that ships to the address can handle {classes}"
    return said, "Leave the line out, or add the class to what a location handles (PUT /v1/locations).", ""


def _profile(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    said = f"the routing profile {profile.name!r} excludes every location that could send it"
    return said, "Send it to another address, or change the profile (docs/sourcing.md).", "/ship_to"


def _service(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    request = bench.request
    said = f"no carrier service reaches {request.postal_code} in {request.country} from a location that could send it"
    if bench.facts.place(request.country, request.postal_code) is None:
        said += "; the position of that postal code is unknown (add it with PUT /v1/postal_codes)"
    return (
        said,
        "Send it to another address, or add a zone or lane for it (PUT /v1/carrier_services).",
        "/ship_to",
    )


def _level(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    level = bench.request.service_level
    there = sorted(
        {
            service.level
            for location in bench.members
            if _fails(bench, need, location) is Hurdle.LEVEL
            for service, _ in bench.routes[location.location_id].ways
        }
    )
    said = f"no carrier service of the level {level!r} reaches the address"
    return said, f"Choose one of: {', '.join(there)}.", "/service_level"


def _weight(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    most = max(
        heaviest(service, zone)
        for location in bench.members
        if _fails(bench, need, location) is Hurdle.WEIGHT
        for service, zone in bench.route(location).ways
    )
    grams, _ = large_piece(bench.facts, need) or (need.grams, 0)
    said = (
        f"{_one(need)} weighs {grams} g, and no carrier service that reaches the address takes more than {most} g "
        "as one parcel"
    )
    return (
        said,
        "Leave the line out, choose another service level, or add a carrier service that takes it.",
        "",
    )


def _one(need: Need) -> str:
    return "one of its components" if need.parts else "one unit"


def _size(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    _, cubic_cm = large_piece(bench.facts, need) or (0, 0)
    most = max(
        volume
        for location in bench.members
        if _fails(bench, need, location) is Hurdle.SIZE
        for way in bench.route(location).ways
        if (volume := largest(*way)) is not None
    )
    said = (
        f"{_one(need)} has a volume of {cubic_cm} cubic cm, and no carrier service that reaches the address takes "
        f"more than {most} cubic cm as one parcel"
    )
    return (
        said,
        "Leave the line out, choose another service level, or add a carrier service that takes it.",
        "",
    )


def _group(bench: _Bench, need: Need, profile: Profile) -> tuple[str, str, str]:
    said = f"the lines of the group {need.group!r} must come from one location, and no location can send all of them"
    return said, "Take the line out of the group.", f"/lines/{need.line_no - 1}/group"


_SENTENCES: dict[Hurdle, Callable[[_Bench, Need, Profile], tuple[str, str, str]]] = {
    Hurdle.DESTINATION: _destination,
    Hurdle.HANDLING: _handling,
    Hurdle.PROFILE: _profile,
    Hurdle.SERVICE: _service,
    Hurdle.LEVEL: _level,
    Hurdle.WEIGHT: _weight,
    Hurdle.SIZE: _size,
    Hurdle.GROUP: _group,
}
