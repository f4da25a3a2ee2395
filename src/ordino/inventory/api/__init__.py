"""Stock over HTTP, a file a noun."""

from __future__ import annotations

from typing import Any

from ordino.inventory.api import holds, rules, signals, stock

routes: list[Any] = [*holds.routes, *rules.routes, *signals.routes, *stock.routes]
