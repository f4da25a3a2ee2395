"""Order keys and customers, which are claimed before what more orders want: days and stock.

Whoever holds days and stock from the start claims them before it is decided which orders are accepted, and gives back those of
orders that are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Raced, Tx
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.network.facts import Channel, NetworkFacts, Serving
from ordino.orders.model import NewCustomer, NewOrder

sql = statements("ordino.orders")


def wanted_customers(
    orders: Sequence[NewOrder], chosen: Sequence[int], channels: Mapping[int, tuple[Channel, Serving]]
) -> dict[tuple[int, str], NewCustomer]:
    """(seller id, external id) -> the customer as the first of the chosen orders describes them."""
    wanted: dict[tuple[int, str], NewCustomer] = {}
    for index in chosen:
        customer = orders[index].customer
        if customer is not None:
            wanted.setdefault((channels[index][0].seller_id, customer.external_id), customer)
    return wanted


async def customers_of(
    tx: Tx, wanted: Mapping[tuple[int, str], NewCustomer], at: datetime
) -> tuple[dict[tuple[int, str], UUID], frozenset[UUID]]:
    """(seller id, external id) -> customer id; and the ids of those that are new. New customers begin here."""
    if not wanted:
        return {}, frozenset()
    keys = sorted(wanted)
    names = {"seller_ids": [key[0] for key in keys], "external_ids": [key[1] for key in keys]}
    known = {
        (row["seller_id"], row["external_id"]): row["customer_id"] for row in await sql.known_customers(tx, **names)
    }
    came: frozenset[UUID] = frozenset()
    if new := [key for key in keys if key not in known]:
        rows = await sql.claim_customers(
            tx,
            seller_ids=[key[0] for key in new],
            external_ids=[key[1] for key in new],
            customer_ids=new_ids(at, len(new)),
            names=[wanted[key].name for key in new],
            emails=[wanted[key].email for key in new],
            phones=[wanted[key].phone for key in new],
            at=at,
        )
        came = frozenset(row["customer_id"] for row in rows)
        known = {
            (row["seller_id"], row["external_id"]): row["customer_id"] for row in await sql.known_customers(tx, **names)
        }
    return known, came


class Early(Struct, frozen=True):
    """Keys and customers that were claimed before it is known which orders are accepted."""

    keys: Mapping[UUID, tuple[int, str]]  # order id -> (channel id, external id)
    customers: Mapping[tuple[int, str], UUID]
    new_customers: frozenset[UUID]


async def claim_early(
    tx: Tx,
    orders: Sequence[NewOrder],
    chosen: Sequence[int],
    channels: Mapping[int, tuple[Channel, Serving]],
    digests: Mapping[int, bytes],
    ids: Sequence[UUID],
    network: NetworkFacts,
    beside: Sequence[NewOrder],
    at: datetime,
) -> Early:
    """Customers and keys before days and stock, as everywhere. Raises ``Raced`` where somebody else has sent an order meanwhile."""
    wanted = wanted_customers(orders, chosen, channels)
    keys = {
        (channels[index][0].channel_id, orders[index].external_id): (ids[2 * place_in_batch], digests[index])
        for place_in_batch, index in enumerate(chosen)
    }
    own = {order_id for order_id, _ in keys.values()}
    for order, order_id in zip(beside, new_ids(at, len(beside)), strict=True):
        channel = network.channels.get(order.channel)
        if channel is not None:
            keys.setdefault((channel.channel_id, order.external_id), (order_id, b""))
            if order.customer is not None:
                wanted.setdefault((channel.seller_id, order.customer.external_id), order.customer)
    customers, new = await customers_of(tx, wanted, at)
    ordered = sorted(keys)
    claimed = await sql.claim_keys(
        tx,
        channel_ids=[key[0] for key in ordered],
        external_ids=[key[1] for key in ordered],
        order_ids=[keys[key][0] for key in ordered],
        digests=[keys[key][1] for key in ordered],
    )
    mine = {row["order_id"] for row in claimed}
    if not own <= mine:
        raise Raced([])
    return Early({order_id: key for key, (order_id, _) in keys.items() if order_id in mine}, customers, new)


async def forget_unused(
    tx: Tx, early: Early, accepted: Collection[UUID], wanted: Mapping[tuple[int, str], NewCustomer]
) -> None:
    """Give back what was claimed for orders that are refused, but for ``wanted`` customers of accepted ones."""
    if refused := {order_id: key for order_id, key in early.keys.items() if order_id not in accepted}:
        await sql.forget_keys(
            tx,
            order_ids=list(refused),
            channel_ids=[channel_id for channel_id, _ in refused.values()],
            external_ids=[external_id for _, external_id in refused.values()],
        )
    used = {early.customers[key] for key in wanted}
    if unused := sorted(early.new_customers - used):
        await sql.forget_customers(tx, customer_ids=unused)
