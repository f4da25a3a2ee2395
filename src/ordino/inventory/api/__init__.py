"""Stock over HTTP, a file a noun."""

from __future__ import annotations

from typing import Any

from ordino.inventory.api import stock

routes: list[Any] = [*stock.routes]
