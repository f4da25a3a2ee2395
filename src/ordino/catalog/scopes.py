"""By which sellers and channels operations are narrowed."""

from __future__ import annotations

from collections.abc import Sequence

from ordino.catalog.read import sellers_of_channels
from ordino.core.database import Tx
from ordino.web.scopes import Dimension, Key, Narrowing, Owner

SELLERS = frozenset({Dimension.SELLER})


async def _sellers(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    return [[Owner(seller=code)] for (code,) in keys]


async def _channels(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    of = await sellers_of_channels(tx, sorted({code for (code,) in keys if code is not None}))
    return [[Owner(seller=of[code])] if code in of else [] for (code,) in keys]


BY_SELLER = Narrowing(name="seller", dimensions=SELLERS, names=("seller",), owners=_sellers)
BY_CHANNEL = Narrowing(
    name="channel", dimensions=SELLERS, names=("channel",), owners=_channels, missing="There is no channel {0!r}."
)
