"""Costs that could not be compared are refused where they are written: a network sells in no currency into which nobody can convert
what its locations and the carriers cost.

What stood before is not asked again: a rate that runs out later stops sourcing by a fence (``no_exchange_rate``), and no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ordino.catalog.upsert import SELLER_CHECKS
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.core.upserts import NotUpserted, Reason
from ordino.network.exchange import Rates, all_rates
from ordino.network.model import CarrierService, Location, Network

sql = statements("ordino.network")


class Currencies(Struct, frozen=True):
    """In what currencies services and locations cost, and channels sell.

    ``services``: code -> currency. ``locations``: code -> currency (None: the order's) and whether it costs anything. ``channels``:
    code -> currency. ``members`` and ``served``: network -> codes. ``sellers``: channel -> seller.
    """

    services: Mapping[str, str]
    locations: Mapping[str, tuple[str | None, bool]]
    channels: Mapping[str, str]
    members: Mapping[str, frozenset[str]]
    served: Mapping[str, frozenset[str]]
    rates: Rates
    at: datetime
    sellers: Mapping[str, str]

    def no_rate(self, what: str, currency: str, channels: Iterable[str]) -> str | None:
        """Why costs in a currency cannot be compared with orders of one of these channels."""
        for channel in sorted(channels):
            into = self.channels.get(channel, currency)
            if self.rates.rate(currency, into, self.at) is None:
                return (
                    f"{what} in {currency}, and the channel {channel!r} sells in {into}, but there is no exchange rate from "
                    f"{currency} to {into} for today. Load one with PUT /v1/exchange_rates first."
                )
        return None

    def against_service(self, service: CarrierService) -> NotUpserted | None:
        """What stands against a service of a new currency."""
        if not service.active or self.services.get(service.code) == service.currency:
            return None
        served = [channel for channels in self.served.values() for channel in channels]
        said = self.no_rate(f"The rates of {service.code!r} are", service.currency, served)
        return None if said is None else NotUpserted(service.code, Reason.CONFLICT, said, "/currency")

    def against_location(self, location: Location) -> NotUpserted | None:
        """What stands against a location whose handling costs are new, or of a new currency."""
        costs = location.handling_cost_minor or location.handling_line_cost_minor or location.handling_unit_cost_minor
        if not costs or self.locations.get(location.code) == (location.currency, True):
            return None
        served = [c for name, members in self.members.items() if location.code in members for c in self.served[name]]
        said = self._handling(location.code, location.currency, served)
        return None if said is None else NotUpserted(location.code, Reason.CONFLICT, said, "/currency")

    def against_network(self, network: Network) -> NotUpserted | None:
        """What stands against new members and new channels of a network."""
        had = self.served.get(network.code, frozenset())
        for index, channel in enumerate(network.channels):
            if channel in had:
                continue
            for code, currency in sorted(self.services.items()):
                if said := self.no_rate(f"The rates of the carrier service {code!r} are", currency, [channel]):
                    return NotUpserted(network.code, Reason.CONFLICT, said, f"/channels/{index}")
        elsewhere = {
            name: channels - set(network.channels) for name, channels in self.served.items() if name != network.code
        }
        same = had >= set(network.channels)
        before = self.members.get(network.code, frozenset())
        for index, member in enumerate(network.members):
            handled_in, costs = self.locations.get(member.location, (None, False))
            if not costs or (same and member.location in before):
                continue
            others = [
                c for name, channels in elsewhere.items() if member.location in self.members[name] for c in channels
            ]
            if said := self._handling(member.location, handled_in, [*network.channels, *others]):
                return NotUpserted(network.code, Reason.CONFLICT, said, f"/members/{index}/location")
        return None

    def against_seller(self, code: str, currency: str) -> NotUpserted | None:
        """What stands against another currency of a seller whose channels networks serve."""
        changed = {
            channel: currency
            for channels in self.served.values()
            for channel in channels
            if self.sellers[channel] == code and self.channels[channel] != currency
        }
        if not changed:
            return None
        then = replace(self, channels={**self.channels, **changed})
        for service, costs_in in sorted(self.services.items()):
            if said := then.no_rate(f"The rates of the carrier service {service!r} are", costs_in, changed):
                return NotUpserted(code, Reason.CONFLICT, said, "/currency")
        for location, (handled_in, costs) in sorted(self.locations.items()):
            served = {c for name, members in self.members.items() if location in members for c in self.served[name]}
            if not costs or not served & changed.keys():
                continue
            if said := then._handling(location, handled_in, served if handled_in is None else changed):
                return NotUpserted(code, Reason.CONFLICT, said, "/currency")
        return None

    def _handling(self, location: str, currency: str | None, channels: Iterable[str]) -> str | None:
        if currency is not None:
            return self.no_rate(f"The handling costs of {location!r} are", currency, channels)
        sold = sorted({self.channels[channel] for channel in channels if channel in self.channels})
        if len(sold) <= 1:
            return None
        return (
            f"{location!r} has handling costs without a currency, and its networks sell in {', '.join(sold)}. Say the `currency` "
            "of the location (PUT /v1/locations)."
        )


async def currencies(tx: Tx, at: datetime) -> Currencies:
    """As this transaction sees them."""
    services: dict[str, str] = {}
    locations: dict[str, tuple[str | None, bool]] = {}
    channels: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    served: dict[str, set[str]] = {}
    sellers: dict[str, str] = {}
    for row in await sql.currencies_at_work(tx):
        code, network = row["code"], row["network"]
        if network is not None:
            members.setdefault(network, set())
            served.setdefault(network, set())
        if row["what"] == "service":
            services[code] = row["currency"]
        elif row["what"] == "location":
            locations[code] = row["currency"], row["costs"]
            if network is not None:
                members[network].add(code)
        else:
            channels[code] = row["currency"]
            sellers[code] = row["seller"]
            if network is not None:
                served[network].add(code)
    return Currencies(
        services,
        locations,
        channels,
        {name: frozenset(of) for name, of in members.items()},
        {name: frozenset(of) for name, of in served.items()},
        await all_rates(tx),
        at,
        sellers,
    )


async def against_sellers(tx: Tx, wanted: Mapping[str, str], at: datetime) -> dict[str, NotUpserted]:
    """What stands against these currencies of sellers (seller -> currency), by seller."""
    known = await currencies(tx, at)
    found = {code: known.against_seller(code, currency) for code, currency in wanted.items()}
    return {code: said for code, said in found.items() if said is not None}


SELLER_CHECKS.append(against_sellers)
