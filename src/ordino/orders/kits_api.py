"""Kits over HTTP."""

from __future__ import annotations

from typing import Any

from ordino.catalog import read
from ordino.catalog.model import Kit
from ordino.core.permissions import Permission
from ordino.orders.kits import upsert_kits
from ordino.web import bulk
from ordino.web.bulk import Kind
from ordino.web.scopes import NOBODY

routes: list[Any] = bulk.routes(
    Kind("kits", Kit, upsert_kits, key="sku", flat=False),
    "catalog",
    note="Each whole, by its SKU; one without components becomes an ordinary SKU again. A SKU that is stocked by itself, or "
    "that orders wait for, does not become a kit.",
    reads=Permission.CATALOG_READ,
    writes=Permission.CATALOG_WRITE,
    shown_by=NOBODY,
    by_code=read.kits,
    after_code=read.kits_after,
)
