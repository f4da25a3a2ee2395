"""Versions of the flow: drafted, activated, and read by what follows events. An order keeps the version it was placed under."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Plan, Plans
from ordino.core.payloads import KINDS
from ordino.core.reactions import registry
from ordino.core.statements import statements
from ordino.flows.document import Flow, Vocabulary, packaged, parse

sql = statements("ordino.flows")
LAST_VERSION = 2**31 - 1


class FlowHead(Struct, frozen=True):
    """One version in a list."""

    version: int
    name: str
    active: bool
    created_at: datetime


class FlowView(Struct, frozen=True):
    """One version, as written."""

    version: int
    name: str
    document: str
    active: bool
    created_at: datetime


def vocabulary() -> Vocabulary:
    """Every event and reaction that the loaded stages know. Subscriptions follow the log, whatever a flow says."""
    names = registry.names - registry.subscriptions.keys()
    reactions = {name: registry.options.get(name, frozenset()) for name in names}
    return Vocabulary(frozenset(KINDS), reactions)


async def draft(tx: Tx, document: str, *, at: datetime) -> int:
    """Check a document and keep it under a new version. Raises ``Invalid`` with every fault and its line."""
    flow = parse(document, vocabulary())
    await sql.hold_flows(tx)
    version: int = (await sql.draft_flow(tx, name=flow.name, document=document, at=at))[0]["version"]
    return version


async def activate(tx: Tx, version: int, *, at: datetime) -> None:
    """Place new orders under this version. Raises ``NotFound``; ``Invalid`` if it speaks of what is no longer there."""
    parse((await flow(tx, version)).document, vocabulary())
    await sql.hold_flows(tx)
    await sql.deactivate_flow(tx)
    await sql.activate_flow(tx, version=version)
    await kept.changed(tx, "flows")


async def ensure_active(tx: Tx, *, at: datetime) -> int:
    """The active version; the packaged flow becomes it where there is none."""
    await sql.hold_flows(tx)
    rows = await sql.active_flow(tx)
    if rows:
        version: int = rows[0]["version"]
        return version
    version = await draft(tx, packaged(), at=at)
    await activate(tx, version, at=at)
    return version


async def flow(tx: Tx, version: int) -> FlowView:
    """Raises ``NotFound``."""
    rows = await sql.flow(tx, version=version) if 0 < version <= LAST_VERSION else []
    if not rows:
        raise NotFound(f"There is no version {version} of the flow.")
    return FlowView(**rows[0])


async def flows(tx: Tx) -> list[FlowHead]:
    """Every version, newest first."""
    return [FlowHead(**row) for row in await sql.flows(tx)]


def flow_plans() -> Plans:
    """What follows from events, by the flow versions in the database."""
    return Plans(_load, _active)


async def _load(tx: Tx, version: int) -> Plan:
    read: Flow = parse((await flow(tx, version)).document, vocabulary())
    return read.plan


async def _active(tx: Tx) -> int:
    return await kept.current(tx, "flows", _read_active)


async def _read_active(tx: Tx) -> int:
    rows = await sql.active_flow(tx)
    if not rows:
        raise NotFound("No flow is active; `ordino migrate` activates the one that comes with Ordino.")
    version: int = rows[0]["version"]
    return version
