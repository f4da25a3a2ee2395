"""What people write about orders stays among the orders' notes, and can be erased."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from closing import look
from conftest import database_before, run_revisions
from ordino.aftercare.model import Answers, NewRefund, NewReturn, ReturnCancellation, ReturnLine, SurveyAnswer
from ordino.aftercare.refunds import refund, refunds_of
from ordino.aftercare.returns import authorize
from ordino.aftercare.returns import cancel as cancel_return
from ordino.aftercare.survey import answer, survey
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import NotFound
from ordino.inventory.adjust import Count, count
from ordino.inventory.history import LAST
from ordino.inventory.shortfalls import Closure as ShortfallClosure
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.orders import api as orders_api
from ordino.orders import notes_api
from ordino.orders.api import WholeCancellation
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.exceptions import Resolve, resolve
from ordino.orders.notes import erase, notes_of
from ordino.orders.shortfalls import ShortfallView, shortfalls_before
from ordino.warehouse.model import Pick
from ordino.warehouse.pick import pick
from steps import assert_clean, client, delivered, events, in_one, placed, released
from world import World, small_world

AT = datetime(2027, 3, 1, 15, 0, tzinfo=UTC)
SECRET = "Ada Lovelace, 12 Ockham Road, is in hospital"


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"n{uuid4().hex[:6]}-", skus=2)


async def told_everything(database: Database, world: World) -> UUID:
    """A delivered order about which everything that can be said is said."""
    order_id, _ = await delivered(database, world.order(f"n-{uuid4()}", 3), AT)
    await in_one(database, refund, [NewRefund(order_id=order_id, reason="late", goodwill_minor=5, note=SECRET)], AT)
    line = ReturnLine(line_no=1, quantity=1, reason="unwanted")
    [authorized] = await in_one(database, authorize, [NewReturn(order_id=order_id, lines=[line])], AT)
    wish = ReturnCancellation(order_id=order_id, return_id=authorized.return_id, all=True, note=SECRET)
    await in_one(database, cancel_return, [wish], AT)
    await database.pool.execute("INSERT INTO aftercare.surveys (order_id, asked_at) VALUES ($1, $2)", order_id, AT)
    said = SurveyAnswer(order_id=order_id, answers=Answers(overall=4), comment=SECRET)
    await in_one(database, answer, [said], AT)
    return order_id


async def cancelled(database: Database, world: World) -> UUID:
    order_id = await placed(database, world.order(f"n-{uuid4()}", 2), AT)
    wish = Cancellation(order_id=order_id, all=True, reason="illness", note=SECRET)
    await in_one(database, cancel, [wish], AT)
    return order_id


async def excepted(database: Database, world: World) -> UUID:
    order_id = await placed(database, world.order(f"n-{uuid4()}", 2), AT)
    exception_id = uuid4()
    await database.pool.execute(
        "INSERT INTO orders.exceptions (order_id, exception_id, kind, line_no, detail, at) "
        "VALUES ($1, $2, 'not_sourced', 1, 'Fulfillment failed once.', $3)",
        order_id, exception_id, AT,
    )  # fmt: skip
    wish = Resolve(action="cancel", reason="fraud", note=SECRET)
    await database.transact(lambda tx: resolve(tx, exception_id, wish, at=AT))
    return order_id


async def found_in(database: Database, words: str) -> set[str]:
    """Every table in which some row says this."""
    tables = await database.pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    said = set()
    for (name,) in tables:
        if await database.pool.fetchval(f"SELECT count(*) FROM {name} t WHERE t::text LIKE '%' || $1 || '%'", words):
            said.add(name)
    return said


async def test_nte_1_words_of_ones_own_are_among_the_notes_and_nowhere_else(database: Database, world: World) -> None:
    orders = [await make(database, world) for make in (told_everything, cancelled, excepted)]
    assert await found_in(database, SECRET) == {"orders.notes"}
    abouts = [[note.about for note in await database.read(lambda tx, i=i: notes_of(tx, i))] for i in orders]  # type: ignore[misc]
    assert [sorted(some) for some in abouts] == [["refund", "return", "survey"], ["cancellation"], ["exception"]]
    assert (await database.read(lambda tx: refunds_of(tx, orders[0])))[0].note == SECRET
    assert (await database.read(lambda tx: survey(tx, orders[0]))).comment == SECRET
    for order_id in orders:
        await database.transact(lambda tx, i=order_id: erase(tx, i, at=AT))  # type: ignore[misc]
    assert await found_in(database, SECRET) == set()
    assert (await database.read(lambda tx: refunds_of(tx, orders[0])))[0].note is None
    assert (await database.read(lambda tx: survey(tx, orders[0]))).answers == {"overall": 4}
    await assert_clean(database)


async def test_erasing_is_told_and_touches_one_order(database: Database, world: World) -> None:
    mine, other = await cancelled(database, world), await cancelled(database, world)
    async with client(database, notes_api.routes) as http:
        [note] = (await http.get(f"/v1/orders/{mine}/notes")).json()["notes"]
        assert (note["about"], note["text"]) == ("cancellation", SECRET)
        erased = await http.delete(f"/v1/orders/{mine}/notes")
        assert (erased.status_code, erased.json()) == (200, {"order_id": str(mine), "notes": 1})
        assert (await http.get(f"/v1/orders/{mine}/notes")).json() == {"notes": []}
        assert (await http.delete(f"/v1/orders/{mine}/notes")).json()["notes"] == 0
        assert len((await http.get(f"/v1/orders/{other}/notes")).json()["notes"]) == 1
        assert (await http.get(f"/v1/orders/{uuid4()}/notes")).status_code == 404
    kinds = await database.pool.fetch("SELECT kind FROM core.events WHERE subject_id = $1", mine)
    assert [row["kind"] for row in kinds].count("notes_erased") == 1
    with pytest.raises(NotFound):
        await database.transact(lambda tx: erase(tx, uuid4(), at=AT))
    await database.transact(lambda tx: erase(tx, other, at=AT))


async def test_events_name_the_reason_as_a_code(database: Database, world: World) -> None:
    order_id = await cancelled(database, world)
    data = await database.pool.fetchval(
        "SELECT data FROM core.events WHERE subject_id = $1 AND kind = 'units_cancelled'", order_id
    )
    assert msgspec.json.decode(data)["reason"] == "illness"
    await database.transact(lambda tx: erase(tx, order_id, at=AT))


async def test_nte_1_what_is_written_about_a_shortfall_is_in_no_event_and_can_be_erased(
    database: Database, world: World
) -> None:
    order_id, [task] = await released(database, world.order(f"n-{uuid4()}", 10), AT)
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=task, all=True)], AT)
    await in_one(database, count, [Count(sku=world.sku, location=world.location, on_hand=9)], AT)

    async def told() -> ShortfallView:
        [one] = [
            one
            for one in await database.read(lambda tx: shortfalls_before(tx, LAST, 100, all=True))
            if one.sku == world.sku
        ]
        return one

    shortfall = await told()
    async with client(database, [orders_api.post_closure, orders_api.delete_shortfall_note]) as http:
        path = f"/v1/shortfalls/{shortfall.shortfall_id}"
        sentence = await http.post(f"{path}/closure", json={"reason": SECRET})
        assert (sentence.status_code, sentence.json()["errors"][0]["pointer"]) == (400, "/reason")
        assert (await told()).open == 1
        closed = await http.post(f"{path}/closure", json={"reason": "behind_the_shelf", "note": SECRET})
        assert (closed.status_code, closed.json()["recovered"]) == (200, 1), closed.text
        assert await found_in(database, SECRET) == {"inventory.shortfalls"}
        assert (await told()).note == SECRET
        [fact] = await events(database, shortfall.shortfall_id, "shortfall_closed")
        assert fact == {"reason": "behind_the_shelf", "recovered": 1, "actor": None}
        for erased in (True, False):
            answer = await http.delete(f"{path}/note")
            assert (answer.status_code, answer.json()["erased"]) == (200, erased), answer.text
        assert (await http.delete(f"/v1/shortfalls/{uuid4()}/note")).status_code == 404
    assert await found_in(database, SECRET) == set()
    assert (await told()).note is None
    await assert_clean(database)


async def test_nte_1_why_a_location_is_closed_stays_with_the_closure(database: Database) -> None:
    """Orders that leave it, units that stay there and released work name the closure by its code."""
    world = await small_world(database, prefix=f"n{uuid4().hex[:6]}-", skus=1, locations=2, stock=5)
    moves = await placed(database, world.order("moves", 2), AT)
    works, _ = await released(database, world.order("works", 2), AT)
    await in_one(database, count, [Count(sku=world.sku, location=world.locations[1], on_hand=2)], AT)
    stays = await placed(database, world.order("stays", 1), AT)
    closure = Closure(code=f"shut-{world.location}", location=world.location, reason=SECRET)
    await in_one(database, upsert_closures, [closure], AT)
    await look(database, AT)
    said = [
        fact["why"]
        for order_id, kind in ((moves, "order_resourced"), (stays, "units_kept"), (works, "work_at_closed_location"))
        for fact in await events(database, order_id, kind)
    ]
    assert len(said) == 3
    for why in said:
        assert why.startswith(f"{world.location} is closed by the closure {closure.code!r}")
    assert await found_in(database, SECRET) == {"network.closures"}
    await database.transact(lambda tx: reopen(tx, closure.code))
    assert await found_in(database, SECRET) == set()
    await assert_clean(database)


@pytest.mark.parametrize(
    "kind", [WholeCancellation, Cancellation, Resolve, NewRefund, ReturnLine, ReturnCancellation, ShortfallClosure]
)
@pytest.mark.parametrize("reason", ["she is ill", "Ada Lovelace", "x" * 51, "", "a__b", "tel: 5"])
def test_a_sentence_is_no_reason(kind: type[Any], reason: str) -> None:
    needed = {
        "order_id": str(uuid4()), "return_id": str(uuid4()), "action": "close", "line_no": 1, "quantity": 1, "reason": reason,
    }  # fmt: skip
    body = {name: value for name, value in needed.items() if name in kind.__struct_fields__}
    with pytest.raises(msgspec.ValidationError, match=r"reason"):
        msgspec.convert(body, kind)
    msgspec.convert(body | {"reason": "changed_mind"}, kind)


ID = "01990000-0000-7000-8000-00000000000"
BEFORE = f"""
INSERT INTO orders.orders (order_id, channel_id, external_id, flow_version, currency, shipping_minor, tax_minor, discount_minor,
    total_minor, placed_at, ordered, backordered, allocated, picked, packed, shipped, delivered, returned, cancelled)
VALUES ('{ID}1', 1, 'one', 1, 'USD', 0, 0, 0, 100, now(), 1, 0, 0, 0, 0, 0, 0, 0, 1);
INSERT INTO orders.lines (order_id, line_no, sku_id, ordered, unit_price_minor, amount_minor, backordered, allocated, picked, packed,
    shipped, delivered, returned, cancelled) VALUES ('{ID}1', 1, 1, 1, 100, 100, 0, 0, 0, 0, 0, 0, 0, 1);
INSERT INTO orders.moves (order_id, cause_id, line_no, from_state, to_state, quantity, reason, at)
VALUES ('{ID}1', '{ID}2', 1, 'allocated', 'cancelled', 1, 'Ada is ill', '2026-01-02');
INSERT INTO core.events (subject_id, id, kind, at, data) VALUES
    ('{ID}1', '{ID}2', 'units_cancelled', '2026-01-02', '{{"lines": [], "reason": "Ada is ill"}}'),
    ('{ID}1', '{ID}3', 'units_cancelled', '2026-01-02', '{{"lines": [], "reason": "location closed"}}'),
    ('{ID}1', '{ID}4', 'exception_resolved', '2026-01-02', '{{"reason": null}}'),
    ('{ID}1', '{ID}5', 'units_cancelled', '2026-01-02', '{{"reason": "customer_request"}}');
INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)
VALUES (1, '{ID}6', 'stop', '{ID}1', '{ID}2', now(), '{{"reason": "Ada is ill"}}');
INSERT INTO aftercare.refunds (order_id, refund_id, amount_minor, shipping_minor, goodwill_minor, reason, note, asked_at)
VALUES ('{ID}1', '{ID}7', 1, 0, 1, 'Ada was sad', 'she cried', '2026-01-02');
INSERT INTO aftercare.surveys (order_id, asked_at, answered_at, comment) VALUES ('{ID}1', now(), now(), 'Ada liked it');
"""


async def test_words_of_before_are_moved_to_the_notes(cluster: EmbeddedPostgres) -> None:
    async with database_before(cluster, "0017") as connection:
        await connection.execute("SET session_replication_role = replica")  # what else an order needs is left out
        await connection.execute(BEFORE)
        await connection.execute("SET session_replication_role = DEFAULT")
        await run_revisions(connection, since="0017")
        notes = await connection.fetch("SELECT note_id, about, text FROM orders.notes ORDER BY note_id")
        assert [tuple(map(str, row)) for row in notes] == [
            (f"{ID}1", "survey", "Ada liked it"),
            (f"{ID}2", "cancellation", "Ada is ill"),
            (f"{ID}7", "refund", "Ada was sad\nshe cried"),
        ]
        reasons = await connection.fetch("SELECT data->>'reason' AS reason FROM core.events ORDER BY id")
        assert [row["reason"] for row in reasons] == ["other", "location_closed", None, "customer_request"]
        for table in ("core.events", "core.reactions", "orders.moves", "aftercare.refunds", "aftercare.surveys"):
            assert not await connection.fetchval(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%Ada%'"), table
        assert await connection.fetchval("SELECT reason FROM orders.moves") == "other"


WORDS_IN_EVENTS = f"""
INSERT INTO inventory.shortfalls (shortfall_id, sku_id, location_id, missing, open, resolved, recovered, found_at, closed_at)
VALUES ('{ID}1', 1, 1, 1, 0, 0, 1, now(), now());
INSERT INTO core.events (subject_id, id, kind, at, data) VALUES
    ('{ID}1', '{ID}2', 'shortfall_closed', now(), '{{"reason": "Ada had it", "recovered": 1, "actor": null}}'),
    ('{ID}3', '{ID}4', 'shortfall_closed', now(), '{{"reason": "found", "recovered": 1, "actor": null}}'),
    ('{ID}5', '{ID}6', 'order_resourced', now(), '{{"why": "a is closed (Ada (boss) is ill); b is closed (Ada)", "to": []}}'),
    ('{ID}5', '{ID}7', 'units_kept', now(), '{{"why": "a is closed (Ada is ill). No other location can."}}'),
    ('{ID}5', '{ID}8', 'order_resourced', now(), '{{"why": "a is switched off"}}'),
    ('{ID}5', '{ID}9', 'order_resourced', now(), '{{"to": []}}');
INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)
VALUES (1, '{ID}6', 'tell', '{ID}5', '{ID}6', now(), '{{"why": "a is closed (Ada)", "reason": "Ada is ill"}}'), (1, '{ID}7', 'tell',
    '{ID}5', '{ID}7', now(), '{{}}');
INSERT INTO orders.exceptions (order_id, exception_id, kind, detail, at, fulfillment_order_id, location_id)
VALUES ('{ID}5', '{ID}1', 'location_closed', 'a is closed (Ada), and has released work.', now(), '{ID}2', 1);
"""


async def test_words_of_before_leave_the_events_of_shortfalls_and_closures(cluster: EmbeddedPostgres) -> None:
    async with database_before(cluster, "0025") as connection:
        await connection.execute("SET session_replication_role = replica")  # what else an order needs is left out
        await connection.execute(WORDS_IN_EVENTS)
        await connection.execute("SET session_replication_role = DEFAULT")
        await run_revisions(connection, since="0025")
        events = await connection.fetch(
            "SELECT data->>'reason' AS reason, data->>'why' AS why FROM core.events ORDER BY id"
        )
        assert [row["reason"] for row in events[:2]] == ["other", "found"]
        assert [row["why"] for row in events[2:]] == [
            "a is closed",
            "a is closed. No other location can.",
            "a is switched off",
            None,
        ]
        assert await connection.fetchval("SELECT note FROM inventory.shortfalls") == "Ada had it"
        assert (
            await connection.fetchval("SELECT detail FROM orders.exceptions") == "a is closed, and has released work."
        )
        for table in ("core.events", "core.reactions", "orders.exceptions"):
            assert not await connection.fetchval(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%Ada%'"), table
