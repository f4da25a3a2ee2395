"""What the network is made of, as it was sent: by code, or page by page in order of codes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.network.model import CarrierService, Lane, Location, LocationType, Member, Network, PostalCode, Zone

sql = statements("ordino.network")
_members = msgspec.json.Decoder(list[Member]).decode
_zones = msgspec.json.Decoder(list[Zone]).decode
_lanes = msgspec.json.Decoder(list[Lane]).decode


async def locations(tx: Tx, codes: Sequence[str]) -> list[Location]:
    rows = await sql.locations(tx, codes=list(codes))
    return [Location(**{**row, "type": LocationType(row["type"])}) for row in rows]


async def networks(tx: Tx, codes: Sequence[str]) -> list[Network]:
    return [
        Network(code=row["code"], name=row["name"], members=_members(row["members"]), channels=row["channels"])
        for row in await sql.networks(tx, codes=list(codes))
    ]


async def carrier_services(tx: Tx, codes: Sequence[str]) -> list[CarrierService]:
    return [
        CarrierService(**{**row, "zones": _zones(row["zones"]), "lanes": _lanes(row["lanes"])})
        for row in await sql.carrier_services(tx, codes=list(codes))
    ]


async def postal_code(tx: Tx, country: str, code: str) -> PostalCode | None:
    rows = await sql.postal_code(tx, country=country, postal_code=code)
    return PostalCode(**rows[0]) if rows else None


async def locations_after(tx: Tx, after: str, limit: int) -> list[Location]:
    return await locations(tx, [row["code"] for row in await sql.location_codes_after(tx, after=after, limit=limit)])


async def networks_after(tx: Tx, after: str, limit: int) -> list[Network]:
    return await networks(tx, [row["code"] for row in await sql.network_codes_after(tx, after=after, limit=limit)])


async def carrier_services_after(tx: Tx, after: str, limit: int) -> list[CarrierService]:
    rows = await sql.carrier_service_codes_after(tx, after=after, limit=limit)
    return await carrier_services(tx, [row["code"] for row in rows])


async def postal_codes_after(tx: Tx, country: str, after: str, limit: int) -> list[PostalCode]:
    return [PostalCode(**row) for row in await sql.postal_codes_after(tx, country=country, after=after, limit=limit)]
