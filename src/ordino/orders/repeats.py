"""Orders that a channel sends again: each is told by its digest, and answered without being placed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from hashlib import blake2b
from uuid import UUID

from msgspec import structs

from ordino.core.database import Tx
from ordino.core.digests import DIGEST_BYTES, encode_sorted
from ordino.core.statements import statements
from ordino.network.facts import Channel
from ordino.orders.model import DroppedLine, DropReason, NewOrder, OrderRefused, Placed, Refusal

sql = statements("ordino.orders")
_TYPE = next(field.default for field in structs.fields(NewOrder) if field.name == "type")


def digest_of(order: NewOrder) -> bytes:
    """16 bytes that are the same for orders that say the same: names sorted, defaults left out, instants in UTC.

    This is ``core.digests`` as a single pass of the encoder, because every order that is placed comes by. The encoder leaves
    out a default that is the very object; of the fields, only the type's text has to be compared.
    """
    type_ = order.type
    if order.promised_at is not None or order.ship_by_at is not None or (type_ is not _TYPE and type_ == _TYPE):
        order = structs.replace(
            order,
            promised_at=None if order.promised_at is None else order.promised_at.astimezone(UTC),
            ship_by_at=None if order.ship_by_at is None else order.ship_by_at.astimezone(UTC),
            type=_TYPE if type_ == _TYPE else type_,
        )
    return blake2b(encode_sorted(order), digest_size=DIGEST_BYTES).digest()


async def answer_repeats(
    tx: Tx, orders: Sequence[NewOrder], channels: Mapping[int, Channel], digests: Mapping[int, bytes]
) -> dict[int, Placed | OrderRefused]:
    """Index of an order -> its answer, for those that their channels have sent before: whatever has become of channel, network,
    SKUs and prices since.
    """
    known = await sql.known_orders(
        tx,
        channel_ids=[channel.channel_id for channel in channels.values()],
        external_ids=[orders[index].external_id for index in channels],
    )
    if not known:
        return {}
    by_key = {(row["channel_id"], row["external_id"]): row for row in known}
    rows = await sql.first_outcomes(tx, order_ids=[row["order_id"] for row in known])
    first = {row["order_id"]: row for row in rows}
    dropped: dict[UUID, list[DroppedLine]] = {}
    for order_id, line_no, sku, quantity, reason in await sql.dropped_lines(tx, order_ids=list(first)):
        dropped.setdefault(order_id, []).append(DroppedLine(line_no, sku, quantity, DropReason(reason)))
    outcomes: dict[int, Placed | OrderRefused] = {}
    for index, channel in channels.items():
        order = orders[index]
        row = by_key.get((channel.channel_id, order.external_id))
        if row is None:
            continue
        if row["digest"] == digests[index]:
            was = first[row["order_id"]]
            outcomes[index] = Placed(
                row["order_id"],
                order.external_id,
                was["status"],
                was["promised_at"],
                was["accepted_total_minor"],
                dropped.get(row["order_id"], ()),
                repeated=True,
            )
            continue
        detail = (
            f"The channel {order.channel!r} already sent the order {order.external_id!r}, with different contents. "
            "Amend the order, or send this one under another external_id."
        )
        outcomes[index] = OrderRefused(order.external_id, Refusal.REPEATED_WITH_CHANGES, detail, "/external_id")
    return outcomes
