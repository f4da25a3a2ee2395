"""Stock over HTTP, a file a noun."""

from __future__ import annotations

from typing import Any

from ordino.inventory.api import history, holds, rules, signals, stock, supply

routes: list[Any] = [
    *history.routes,
    *holds.routes,
    *rules.routes,
    *signals.routes,
    *stock.routes,
    *supply.routes,
]
