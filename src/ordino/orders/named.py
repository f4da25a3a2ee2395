"""Orders as people name them: by their id, or by what their channel calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Fault, Invalid
from ordino.core.jobs import NewRow, Row, RowOutcome
from ordino.core.statements import statements

sql = statements("ordino.orders")
MOST_ORDERS = 10_000
_encode = msgspec.json.Encoder().encode


class OrderNamed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One order: its ``order_id``, or its ``channel`` and ``external_id``."""

    order_id: UUID | None = None
    channel: Code | None = None
    external_id: Code | None = None

    @property
    def words(self) -> str:
        """As people read it."""
        return str(self.order_id) if self.order_id is not None else f"{self.channel} {self.external_id}"


OrdersNamed = Annotated[list[OrderNamed], Meta(min_length=1, max_length=MOST_ORDERS)]


def rows_of(orders: Sequence[OrderNamed]) -> list[NewRow]:
    """A row an order. Raises ``Invalid``, which points to every order that is not named in one of the two ways."""
    detail = "Name an order by its `order_id`, or by its `channel` and `external_id`."
    faults = [
        Fault(f"/orders/{index}", detail)
        for index, one in enumerate(orders)
        if {one.order_id is None, one.channel is not None, one.external_id is not None} not in ({True}, {False})
    ]
    if faults:
        raise Invalid(f"{faults[0].pointer}: {detail}", faults=faults)
    return [
        NewRow(row_no=number, subject=one.words, input=_encode(one).decode()) for number, one in enumerate(orders, 1)
    ]


async def order_ids(tx: Tx, rows: Sequence[Row]) -> dict[int, UUID]:
    """Number of a row -> the id of its order. A row is missing where its channel has sent no such order."""
    ids = {row.row_no: row.input.order_id for row in rows if row.input.order_id is not None}
    named = {row.row_no: (row.input.channel, row.input.external_id) for row in rows if row.row_no not in ids}
    if named:
        keys = sorted(set(named.values()))
        found = await sql.orders_by_keys(tx, channels=[key[0] for key in keys], external_ids=[key[1] for key in keys])
        known = {(one["channel"], one["external_id"]): one["order_id"] for one in found}
        ids |= {number: known[key] for number, key in named.items() if key in known}
    return ids


def outcomes_of(
    rows: Sequence[Row], ids: Mapping[int, UUID], done: Mapping[int, RowOutcome], *, unknown: str
) -> list[RowOutcome]:
    """What became of each row; ``unknown`` is the code where its channel has sent no such order."""
    return [
        done[row.row_no]
        if row.row_no in ids
        else RowOutcome(
            code=unknown, detail=f"The channel {row.input.channel!r} has sent no order {row.input.external_id!r}."
        )
        for row in rows
    ]
