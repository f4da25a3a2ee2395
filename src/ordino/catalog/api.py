"""Sellers, channels and SKUs over HTTP. Kits are made where orders of them are known, too."""

from __future__ import annotations

from typing import Any

from ordino.catalog import read
from ordino.catalog.model import Channel, Seller, Sku
from ordino.catalog.scopes import BY_SELLER
from ordino.catalog.upsert import upsert_channels, upsert_sellers, upsert_skus
from ordino.core.permissions import Permission
from ordino.web import bulk
from ordino.web.bulk import Kind
from ordino.web.scopes import NOBODY

routes: list[Any] = [
    *bulk.routes(
        Kind("sellers", Seller, upsert_sellers),
        "catalog",
        note="Each by its code. A changed currency holds for orders to come.",
        reads=Permission.CATALOG_READ,
        writes=Permission.CATALOG_WRITE,
        shown_by=BY_SELLER.under("code"),
        by_code=read.sellers,
        after_code=read.sellers_after,
    ),
    *bulk.routes(
        Kind("channels", Channel, upsert_channels),
        "catalog",
        note="Each by its code. Orders come in once a network serves the channel, too.",
        reads=Permission.CATALOG_READ,
        writes=Permission.CATALOG_WRITE,
        shown_by=BY_SELLER,
        by_code=read.channels,
        after_code=read.channels_after,
    ),
    *bulk.routes(
        Kind("skus", Sku, upsert_skus),
        "catalog",
        note="Each by its code, 4,000 rows at a time if they come as CSV or NDJSON.",
        reads=Permission.CATALOG_READ,
        writes=Permission.CATALOG_WRITE,
        shown_by=NOBODY,
        by_code=read.skus,
        after_code=read.skus_after,
    ),
]
