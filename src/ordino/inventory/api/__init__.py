"""Stock over HTTP, a file a noun."""

from __future__ import annotations

from typing import Any

from ordino.inventory.api import count_sheets, detail, history, holds, rules, signals, stock, supply

routes: list[Any] = [
    *count_sheets.routes,
    *detail.routes,
    *history.routes,
    *holds.routes,
    *rules.routes,
    *signals.routes,
    *stock.routes,
    *supply.routes,
]
