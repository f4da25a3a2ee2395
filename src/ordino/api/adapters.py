"""Which adapters are installed, and what is wrong with those that cannot be used."""

from __future__ import annotations

from msgspec import Struct

from ordino.core.adapters import AdapterShown, adapters
from ordino.core.permissions import Permission
from ordino.web.operations import Operation
from ordino.web.routes import get


class Adapters(Struct, frozen=True, kw_only=True):
    """Payment providers, message providers, carriers and channels, by kind and name, as this process sees them."""

    adapters: list[AdapterShown]


@get(
    "/v1/adapters",
    operation=Operation(name="adapters.list", permission=Permission.ENGINE_READ),
    summary="Installed payment providers, carriers, channels and message providers",
    tags=["reactions"],
)
async def get_adapters() -> Adapters:
    """Each with its package and version, what it lacks before it can be used (`lacking`), and why it cannot be used at all
    (`problem`).
    """
    return Adapters(adapters=adapters())
