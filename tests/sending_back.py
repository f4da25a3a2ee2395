"""Returns in few words, for the tests of what comes back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ordino.aftercare.model import (
    CancelledLine,
    NewReturn,
    ReceivedLine,
    ReturnCancellation,
    ReturnLine,
    ReturnReceipt,
)
from ordino.core.database import Database


def wanted(order_id: UUID, *lines: tuple[int, int] | tuple[int, int, str], **more: Any) -> NewReturn:
    """(line number, units) or (line number, units, component) each."""
    named = [
        ReturnLine(line_no=line[0], quantity=line[1], reason="unwanted", component=line[2] if len(line) > 2 else None)
        for line in lines
    ]
    return NewReturn(order_id=order_id, lines=named, **more)


def came(
    allowed: Any,
    line_no: int = 1,
    restocked: int = 0,
    scrapped: int = 0,
    *,
    component: str | None = None,
    location: str | None = None,
    **more: Any,
) -> ReturnReceipt:
    """Units of one line of a return that was authorized."""
    line = ReceivedLine(line_no=line_no, restocked=restocked, scrapped=scrapped, component=component, **more)
    return ReturnReceipt(order_id=allowed.order_id, return_id=allowed.return_id, lines=[line], location=location)


def called_off(allowed: Any, *lines: tuple[int, int | None] | tuple[int, int | None, str]) -> ReturnCancellation:
    """Some lines of a return, or without any all of it."""
    named = [
        CancelledLine(line_no=line[0], quantity=line[1], component=line[2] if len(line) > 2 else None) for line in lines
    ]
    return ReturnCancellation(
        order_id=allowed.order_id, return_id=allowed.return_id, lines=named or None, all=not named
    )


async def return_rows(database: Database, order_id: UUID) -> list[dict[str, Any]]:
    """What the lines of an order's returns say, oldest return first."""
    rows = await database.pool.fetch(
        "SELECT * FROM aftercare.return_lines WHERE order_id = $1"
        " ORDER BY return_id, line_no, component_sku_id, location_id",
        order_id,
    )
    return [dict(row) for row in rows]
