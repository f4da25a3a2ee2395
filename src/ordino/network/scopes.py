"""By which locations operations are narrowed. What lies at a location is no seller's."""

from __future__ import annotations

from collections.abc import Sequence

from ordino.core.database import Tx
from ordino.web.scopes import Dimension, Key, Narrowing, Owner

LOCATIONS = frozenset({Dimension.LOCATION})


async def _locations(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    """Of one location, or of several that must all be reached."""
    return [[Owner(location=code) for code in codes] for codes in keys]


BY_LOCATION = Narrowing(
    name="location",
    dimensions=LOCATIONS,
    free=frozenset({Dimension.SELLER}),
    names=("location",),
    owners=_locations,
    missing="There is no location {0!r}.",
)
