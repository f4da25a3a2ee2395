"""What the catalog holds, as it was sent: by code, or page by page in order of codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ordino.catalog.model import Channel, Component, Kit, Seller, Sku
from ordino.core.database import Tx
from ordino.core.statements import statements

sql = statements("ordino.catalog")


async def sellers(tx: Tx, codes: Sequence[str]) -> list[Seller]:
    return [Seller(**row) for row in await sql.sellers(tx, codes=list(codes))]


async def channels(tx: Tx, codes: Sequence[str]) -> list[Channel]:
    return [Channel(**row) for row in await sql.channels(tx, codes=list(codes))]


async def sellers_of_channels(tx: Tx, codes: Sequence[str]) -> dict[str, str]:
    """Channel -> seller, of the channels that exist."""
    return {row["channel"]: row["seller"] for row in await sql.sellers_of_channels(tx, codes=list(codes))}


async def skus(tx: Tx, codes: Sequence[str]) -> list[Sku]:
    return await _skus(tx, [row["sku_id"] for row in await sql.sku_ids(tx, codes=list(codes))])


async def kits(tx: Tx, codes: Sequence[str]) -> list[Kit]:
    return await _kits(tx, {row["sku_id"]: row["code"] for row in await sql.sku_ids(tx, codes=list(codes))})


async def sellers_after(tx: Tx, after: str, limit: int) -> list[Seller]:
    return await sellers(tx, [row["code"] for row in await sql.seller_codes_after(tx, after=after, limit=limit)])


async def channels_after(tx: Tx, after: str, limit: int) -> list[Channel]:
    return await channels(tx, [row["code"] for row in await sql.channel_codes_after(tx, after=after, limit=limit)])


async def skus_after(tx: Tx, after: str, limit: int) -> list[Sku]:
    return await _skus(tx, [row["sku_id"] for row in await sql.sku_codes_after(tx, after=after, limit=limit)])


async def kits_after(tx: Tx, after: str, limit: int) -> list[Kit]:
    rows = await sql.kits_after(tx, after=after, limit=limit)
    return await _kits(tx, {row["sku_id"]: row["code"] for row in rows})


async def _skus(tx: Tx, sku_ids: Sequence[int]) -> list[Sku]:
    return [Sku(**row) for row in await sql.skus(tx, sku_ids=list(sku_ids))]


async def _kits(tx: Tx, codes: Mapping[int, str]) -> list[Kit]:
    parts: dict[int, list[Component]] = {}
    for row in await sql.components_of(tx, sku_ids=list(codes)):
        parts.setdefault(row["sku_id"], []).append(Component(sku=row["code"], quantity=row["quantity"]))
    return [Kit(sku=code, components=parts[key]) for key, code in codes.items() if key in parts]
