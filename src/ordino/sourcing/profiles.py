"""The routing profile in force: the active one of the database, or the one that comes with Ordino."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.sourcing.model import Profile

sql = statements("ordino.sourcing")


def packaged() -> Profile:
    """Version 0: the profile that comes with Ordino."""
    text = files("ordino.sourcing").joinpath("least_cost.yaml").read_text(encoding="utf-8")
    return msgspec.yaml.decode(text, type=Profile)


async def active(tx: Tx) -> Profile:
    """The profile by which this transaction decides."""
    return await kept.current(tx, "profiles", _load)


async def _load(tx: Tx) -> Profile:
    rows = await sql.active_profile(tx)
    if not rows:
        return packaged()
    profile = msgspec.yaml.decode(rows[0]["document"], type=Profile)
    return msgspec.structs.replace(profile, version=rows[0]["version"])
