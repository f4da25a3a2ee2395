"""What orders ask of sourcing: their lines as needs, and who decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from asyncpg import Record
from msgspec import Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import Parts, kits
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts
from ordino.network.parcels import Contents, tidy
from ordino.orders.ledger import lines_of_kits
from ordino.orders.model import LineRow, OrderRow
from ordino.sourcing.model import Need, Request, ShortPolicy

sql = statements("ordino.orders")


NOTHING = (0, 0)


class Sku(Struct, frozen=True, gc=False):
    """What orders need to know of a SKU."""

    sku_id: int
    weight_grams: int
    backorderable: bool
    active: bool
    code: str
    category: str | None
    cubic_mm: int
    handling_classes: tuple[str, ...]
    parts: Parts = ()
    sizes: Mapping[int, tuple[int, int]] = {}  # of a kit: what one unit of each component weighs and measures

    def need(
        self,
        line_no: int,
        quantity: int,
        *,
        backorderable: bool | None = None,
        excluded: tuple[int, ...] = (),
        parts: Parts | None = None,
        group: str | None = None,
        unit_price_minor: int = 0,
    ) -> Need:
        """So many units, for a line. A kit weighs and measures what its components do, where all of them have a weight."""
        of = self.parts if parts is None else parts
        grams, cubic_mm = self.weight_grams, self.cubic_mm
        contents: Contents = ()
        if of and all(self.sizes.get(sku_id, NOTHING)[0] for sku_id, _ in of):
            contents = tidy([(*self.sizes[sku_id], each) for sku_id, each in of])
            grams = sum(weight * each for weight, _, each in contents)
            cubic_mm = sum(volume * each for _, volume, each in contents)
        return Need(
            line_no,
            self.sku_id,
            quantity,
            grams,
            self.backorderable if backorderable is None else backorderable,
            excluded,
            of,
            cubic_mm,
            self.handling_classes,
            group,
            self.code,
            self.category,
            unit_price_minor,
            contents,
        )


async def known_skus(tx: Tx, codes: set[str]) -> dict[str, Sku]:
    """Code -> the SKU; unknown codes are left out."""
    known = await sku_ids(tx, codes)
    by_id = await skus_of(tx, known.values())
    return {code: by_id[sku_id] for code, sku_id in known.items() if sku_id in by_id}


async def skus_of(tx: Tx, ids: Collection[int]) -> dict[int, Sku]:
    """SKU id -> the SKU."""
    parts = (await kits(tx)).parts
    rows = await sql.sold_skus(tx, sku_ids=list(ids))
    components = sorted({part for sku_id in ids for part, _ in parts.get(sku_id, ())})
    sizes = {
        row["sku_id"]: (row["weight_grams"], row["cubic_mm"])
        for row in (await sql.sold_skus(tx, sku_ids=components) if components else ())
    }
    return {
        row["sku_id"]: Sku(
            **{**row, "handling_classes": tuple(row["handling_classes"])},
            parts=parts.get(row["sku_id"], ()),
            sizes=sizes if row["sku_id"] in parts else {},
        )
        for row in rows
    }


async def asked_of(
    tx: Tx, orders: Sequence[OrderRow], lines: Mapping[tuple[UUID, int], LineRow], network: NetworkFacts
) -> list[Request]:
    """Orders as they were placed, with all of their ``lines``, held to no promise; without those that no network serves."""
    there = {row["order_id"]: row for row in await sql.destinations(tx, order_ids=[order.order_id for order in orders])}
    skus = await skus_of(tx, {line.sku_id for line in lines.values()})
    parts = await lines_of_kits(tx, {key: line.sku_id for key, line in lines.items()})
    known = sorted({order.customer_id for order in orders if order.customer_id is not None})
    names = (
        {row["customer_id"]: row["external_id"] for row in await sql.customer_names(tx, customer_ids=known)}
        if known
        else {}
    )
    needs: dict[UUID, list[Need]] = defaultdict(list)
    for key in sorted(lines):
        line = lines[key]
        needs[line.order_id].append(
            skus[line.sku_id].need(
                line.line_no,
                line.ordered,
                parts=parts.get(key, ()),
                group=line.group_code,
                unit_price_minor=line.unit_price_minor,
            )
        )
    return [
        _request(order, network, there[order.order_id], tuple(needs[order.order_id]), names)
        for order in dict.fromkeys(orders)
        if order.order_id in there and network.channels_by_id[order.channel_id].network is not None
    ]


def _request(
    order: OrderRow, network: NetworkFacts, there: Record, needs: tuple[Need, ...], names: Mapping[UUID, str]
) -> Request:
    channel = network.channels_by_id[order.channel_id]
    assert channel.network is not None, "asked before"
    return Request(
        order.order_id,
        channel.network,
        there["country"],
        there["postal_code"],
        order.placed_at,
        needs,
        ShortPolicy(channel.short_policy),
        order.channel_id,
        network.closed(order.channel_id, order.placed_at),
        channel=channel.code,
        seller=channel.seller,
        order_type=order.type,
        service_level=order.service_level,
        region=there["region"],
        city=there["city"],
        total_minor=order.total_minor,
        currency=order.currency,
        customer=None if order.customer_id is None else names.get(order.customer_id),
        ship_by_at=order.ship_by_at,
    )


def unknown_level(network: NetworkFacts, level: str | None) -> str | None:
    """The sentence that refuses a service level that no carrier service has."""
    if level is None or level in network.levels:
        return None
    return f"No carrier service has the level {level!r}; choose one of: {', '.join(sorted(network.levels))}."
