"""What is still to come: announced by suppliers' documents, or under way from other locations.

INC-1  What has come of an announcement is the sum of the receipts that name its document since.

A date that has passed is no promise: what is overdue is told as such, and counts for nothing until its document says anew when
it is to come.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import kits
from ordino.core.codes import Code, LongCode
from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound
from ordino.core.statements import statements
from ordino.core.times import NEEDS_OFFSET, Instant, expected_fault
from ordino.core.upserts import NotUpserted, Outcome, Reason, in_rounds, outcome
from ordino.inventory import kits as kit_ledger
from ordino.inventory.adjust import MAX_UNITS
from ordino.network.facts import facts

sql = statements("ordino.inventory")


class Incoming(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many units of a SKU are to come to a location, by a document. ``closed``: what has not come by now will not."""

    document: LongCode
    sku: Code
    location: Code
    quantity: Annotated[int, Meta(ge=0, le=MAX_UNITS)]
    expected_at: Instant
    closed: bool = False

    @property
    def code(self) -> str:
        """Document, SKU and location, which name it."""
        return f"{self.document} {self.sku} {self.location}"


class IncomingView(Struct, frozen=True):
    document: str
    sku: str
    location: str
    quantity: int
    received: int
    expected_at: datetime
    closed: bool


class Expected(Struct, frozen=True):
    """Units that are still to come. ``overdue`` ones were to be there already, and are promised to nobody."""

    location: str
    source: str  # purchase_order or transfer
    document: str | None
    transfer_id: UUID | None
    expected_at: datetime
    quantity: int
    overdue: bool


async def upsert_incoming(tx: Tx, incoming: Sequence[Incoming], *, at: datetime) -> list[Outcome]:
    """Each by its document, SKU and location."""
    places = (await facts(tx)).location_ids
    skus = await sku_ids(tx, [one.sku for one in incoming])
    of_kits = (await kits(tx)).parts

    async def apply(batch: Sequence[Incoming]) -> list[Outcome]:
        sound = [one for one in batch if one.sku in skus and one.location in places and not _for_kit(one)]
        sound.sort(key=lambda one: (skus[one.sku], places[one.location], one.document))
        written = await sql.write_incoming(
            tx,
            sku_ids=[skus[one.sku] for one in sound],
            location_ids=[places[one.location] for one in sound],
            documents=[one.document for one in sound],
            quantities=[one.quantity for one in sound],
            expected=[one.expected_at for one in sound],
            closed=[one.closed for one in sound],
            at=at,
        )
        news = {(row["sku_id"], row["location_id"], row["document"]): row["new"] for row in written}
        outcomes: list[Outcome] = []
        for one in batch:
            if one.sku not in skus:
                detail = f"The SKU {one.sku!r} does not exist; create it with PUT /v1/skus."
                outcomes.append(NotUpserted(one.code, Reason.UNKNOWN, detail, "/sku"))
            elif one.location not in places:
                detail = f"There is no location {one.location!r}; create it with PUT /v1/locations."
                outcomes.append(NotUpserted(one.code, Reason.UNKNOWN, detail, "/location"))
            elif _for_kit(one):
                detail = f"{one.sku!r} is a kit and has no stock of its own; announce its components."
                outcomes.append(NotUpserted(one.code, Reason.CONFLICT, detail, "/sku"))
            else:
                new = news.get((skus[one.sku], places[one.location], one.document))
                outcomes.append(outcome(one.code, new=bool(new), written=new is not None))
        if written:
            plain = dict.fromkeys([skus[one.sku] for one in sound if not one.closed], ())
            await kit_ledger.stand(tx, plain)  # what is announced does not become a kit
        return outcomes

    def _for_kit(one: Incoming) -> bool:
        """What was announced before may still be closed, whatever the SKU has become."""
        return skus[one.sku] in of_kits and not one.closed

    return await in_rounds(incoming, code=lambda one: one.code, fault=lambda one: _fault(one, at), apply=apply)


def _fault(one: Incoming, at: datetime) -> Fault | None:
    """What was announced for a time that nobody believes may still be closed."""
    wrong = (
        NEEDS_OFFSET if one.expected_at.tzinfo is None else None if one.closed else expected_fault(one.expected_at, at)
    )
    return None if wrong is None else Fault("/expected_at", wrong)


async def incoming_of(tx: Tx, document: str, *, within: Collection[str] | None = None) -> list[IncomingView]:
    """What a document announced, at all locations or at those ``within``. Raises ``NotFound``."""
    rows = await sql.incoming_of_document(tx, document=document)
    found = [IncomingView(**row) for row in rows if within is None or row["location"] in within]
    if not found:
        raise NotFound(f"No document {document!r} announces anything.")
    return found


async def expected(tx: Tx, sku_ids: Sequence[int], *, at: datetime) -> dict[int, list[tuple[int, Expected]]]:
    """SKU id -> (location id, what is to come there), soonest first."""
    places = (await facts(tx)).locations
    found: dict[int, list[tuple[int, Expected]]] = {}
    for row in await sql.expected(tx, sku_ids=list(sku_ids)):
        values: dict[str, Any] = {
            name: row[name] for name in ("source", "document", "transfer_id", "expected_at", "quantity")
        }
        one = Expected(places[row["location_id"]].code, **values, overdue=row["expected_at"] <= at)
        found.setdefault(row["sku_id"], []).append((row["location_id"], one))
    return found
