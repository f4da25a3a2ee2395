"""Flows as documents: what they say is what happens, and every fault is told with its line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import ordino.aftercare.reactions
import ordino.orders.reactions
import ordino.tracking.reactions
import ordino.warehouse.reactions  # noqa: F401
from ordino.core.database import Database
from ordino.core.errors import Invalid, NotFound
from ordino.flows import versions
from ordino.flows.document import Vocabulary, packaged, parse, seconds_of
from ordino.flows.versions import flow_plans, vocabulary
from ordino.orders.model import Placed
from ordino.orders.place import place
from world import small_world

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
WORDS = Vocabulary(
    frozenset({"order_placed", "payment_authorized"}), {"authorize": frozenset(), "message": frozenset({"template"})}
)


def test_the_packaged_flow_is_valid() -> None:
    flow = parse(packaged(), vocabulary())
    assert flow.name == "home_delivery"
    [release] = flow.plan["payment_authorized"]
    assert (release.reaction, release.after_seconds) == ("release", 1800)
    assert [step.after_seconds for step in flow.plan["shipment_delivered"] if step.reaction == "ask_survey"] == [
        432_000
    ]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("30m", 1800), ("5d", 432_000), ("2 h", 7200), ("9s", 9), ("1w", None), ("-1s", None), ("", None)],
)
def test_durations(duration: str, seconds: int | None) -> None:
    assert seconds_of(duration) == seconds


FAULTS = {
    "name: x\nevents:\n  order_paid: [authorize]\n": (3, "no event 'order_paid'"),
    "name: x\nevents:\n  order_placed:\n    - authorise\n": (4, "no reaction 'authorise'"),
    "name: x\nevents:\n  order_placed:\n    - authorize: {after: soon}\n": (4, "`after` is a whole number"),
    "name: x\nevents:\n  order_placed:\n    - authorize: {color: red}\n": (4, "no option 'color'"),
    "name: x\nevents:\n  order_placed:\n    - message\n": (4, "needs the option 'template'"),
    "name: x\nevents:\n  order_placed: authorize\n": (3, "is a list of reactions"),
    "name: x\nevents:\n  order_placed: [authorize]\n  order_placed: [authorize]\n": (4, "stands twice"),
    "name: x\nevent:\n  order_placed: [authorize]\n": (2, "no 'event'"),
    "name: x\nevents:\n  order_placed: [\n": (4, "not YAML"),
    "- just a list\n": (1, "a mapping with `name` and `events`"),
    "": (1, "a mapping with `name` and `events`"),
}


@pytest.mark.parametrize("document", FAULTS)
def test_every_fault_is_told_with_its_line(document: str) -> None:
    line, words = FAULTS[document]
    with pytest.raises(Invalid) as refused:
        parse(document, WORDS)
    assert any(fault.pointer == f"/line/{line}" and words in refused.value.detail for fault in refused.value.faults)


async def test_an_order_keeps_the_version_it_was_placed_under(database_url: str) -> None:
    async with await Database.open(database_url, plans=flow_plans()) as database:
        world = await small_world(database)
        quick = "name: quick\nevents:\n  order_placed:\n    - authorize: {after: 1h}\n"

        async def enact(document: str) -> int:
            version = await database.transact(lambda tx: versions.draft(tx, document, at=AT))
            await database.transact(lambda tx: versions.activate(tx, version, at=AT))
            return version

        async def put(name: str) -> tuple[int, list[tuple[str, timedelta]]]:
            [placed] = await database.transact(lambda tx: place(tx, [world.order(name)], at=AT))
            assert isinstance(placed, Placed)
            rows = await database.pool.fetch(
                "SELECT kind, due_at FROM core.reactions WHERE subject_id = $1", placed.order_id
            )
            version = await database.pool.fetchval(
                "SELECT flow_version FROM orders.orders WHERE order_id = $1", placed.order_id
            )
            return version, sorted((row["kind"], row["due_at"] - AT) for row in rows)

        first = await enact(packaged())
        assert await put("one") == (first, [("authorize", timedelta(0)), ("message", timedelta(0))])
        second = await enact(quick)
        assert await put("two") == (second, [("authorize", timedelta(hours=1))])
        await database.transact(lambda tx: versions.activate(tx, first, at=AT))
        assert (await put("three"))[0] == first
        heads = await database.read(versions.flows)
        assert [(head.version, head.active) for head in heads] == [(second, False), (first, True)]


async def test_an_unknown_version_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        await database.transact(lambda tx: versions.activate(tx, 99, at=AT))
