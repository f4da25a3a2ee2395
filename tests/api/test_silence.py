"""DB-1, DB-2, DB-3: a database that does not answer makes nobody wait without end, and nobody is told what is not known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient, Response
from litestar import Litestar

from ordino.api.app import build
from ordino.api.process import open_or_wait
from ordino.core import lookout
from ordino.core.connecting import Limits
from ordino.core.database import Database, Tx
from ordino.core.errors import Away, OutcomeUnknown
from ordino.core.events import BUCKETS
from ordino.core.reactions import Registry, Worker
from ordino.core.settings import Settings
from steps import application, assert_clean, calling, order_body
from wire import Wire, wire_to
from world import World, served_world

SHORT = Limits(connect_seconds=1.5, acquire_seconds=4.0, statement_seconds=1.5, batch_seconds=3.0)
LONG = Limits(statement_seconds=120, batch_seconds=120)
SOON_SECONDS = 25.0
"""Far below LONG, far above what a busy machine needs for SHORT."""


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock={("sku-1", "loc-1"): 5000, ("sku-2", "loc-1"): 3})


@pytest.fixture
async def wire(database_url: str, world: World) -> AsyncIterator[Wire]:
    async with wire_to(database_url) as wire:
        yield wire


@pytest.fixture
def no_lookout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the limits help."""
    monkeypatch.setattr(lookout, "DOUBT_SECONDS", 1e9)
    return


def behind(wire: Wire, limits: Limits = SHORT) -> Litestar:
    return application(wire.url, Settings(batch_timeout_seconds=limits.batch_seconds), limits=limits)


async def count(database: Database, external_id: str) -> int:
    number: int = await database.pool.fetchval("SELECT count(*) FROM orders.orders WHERE external_id = $1", external_id)
    return number


@asynccontextmanager
async def soon(seconds: float = SOON_SECONDS) -> AsyncIterator[None]:
    started = time.monotonic()
    async with asyncio.timeout(seconds + 60):
        yield
    assert time.monotonic() - started < seconds


def says_unknown(answer: Response) -> bool:
    assert answer.status_code == 503, answer.text
    told = answer.json()
    unknown = bool(told["type"] == "urn:ordino:problem:outcome_unknown")
    assert ("Nothing was changed" in told["detail"]) is not unknown
    assert ("not known" in told["detail"]) is unknown
    return unknown


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = SOON_SECONDS) -> None:
    async with soon(seconds):
        while not await holds():  # noqa: ASYNC110 - it is another process that moves
            await asyncio.sleep(0.05)


async def eventually_placed(client: AsyncClient, external_id: str) -> Response:
    """Sent until it is answered with an outcome; some seconds are enough."""
    async with soon():
        while True:
            answer = await client.post("/v1/orders", json=order_body(external_id))
            if answer.status_code in (200, 201):
                return answer
            assert answer.status_code == 503, answer.text


@pytest.mark.parametrize("text", ["BEGIN;", "silent-", "COMMIT;"])
@pytest.mark.parametrize("direction", ["up", "down", "both"])
async def test_db_1_db_2_an_order_is_answered_in_time_with_what_is_known(
    wire: Wire, database: Database, no_lookout: None, text: str, direction: str
) -> None:
    name = f"silent-{text[:3].lower()}-{direction}"  # without what the wire listens for
    async with calling(behind(wire)) as client:
        await eventually_placed(client, f"{name}-warm")
        wire.spoil_at(text, direction)
        async with soon():
            answer = await client.post("/v1/orders", json=order_body(name))
        assert wire.spoiled.is_set()
        assert says_unknown(answer) is (text == "COMMIT;"), answer.text
        wire.forward()
        again = await eventually_placed(client, name)
        arrived = text == "COMMIT;" and direction == "down"
        assert again.json()["repeated"] is arrived
        assert again.status_code == (200 if arrived else 201)
    assert await count(database, name) == 1


async def test_db_3_both_lanes_recover_from_lost_answers_to_begin(
    wire: Wire, database: Database, no_lookout: None
) -> None:
    """Two lost answers once stopped every lane for good."""
    async with calling(behind(wire)) as client:
        await eventually_placed(client, "lanes-warm")
        for number in range(4):
            wire.spoil_at("BEGIN;", "down")
            async with soon():
                answers = await asyncio.gather(
                    *(client.post("/v1/orders", json=order_body(f"lanes-{number}-{n}")) for n in range(40))
                )
            for answer in answers:
                if answer.status_code != 201:
                    says_unknown(answer)  # true or not: what the other lane was committing meanwhile is not known
            wire.forward()
        async with soon():
            await asyncio.gather(*(eventually_placed(client, f"lanes-3-{n}") for n in range(40)))
        for n in range(40):
            assert await count(database, f"lanes-3-{n}") == 1


async def test_a_lost_answer_is_found_long_before_the_limits(wire: Wire, database: Database) -> None:
    """The lookout's work: limits are far away, and the wire forwards again at once."""
    async with calling(behind(wire, LONG)) as client:
        for text, direction in (("BEGIN;", "down"), ("lost-", "up"), ("COMMIT;", "down"), ("COMMIT;", "up")):
            name = f"lost-{text[:3].lower()}-{direction}"
            await eventually_placed(client, f"warm-{name[1:]}")
            wire.spoil_at(text, direction)
            sent = asyncio.create_task(client.post("/v1/orders", json=order_body(name)))
            await wire.spoiled.wait()
            await asyncio.sleep(0.2)
            wire.forward()
            async with soon():
                assert says_unknown(await sent) is (text == "COMMIT;")
            assert (await eventually_placed(client, name)).json()["repeated"] is (name == "lost-com-down")
            assert await count(database, name) == 1


async def test_without_lookout_and_limits_a_lost_answer_blocks_its_caller(wire: Wire, no_lookout: None) -> None:
    """The negative control of this file: nothing else ends the wait."""
    async with calling(behind(wire, LONG)) as client:
        await eventually_placed(client, "control-warm")
        wire.spoil_at("COMMIT;", "down")
        sent = asyncio.create_task(client.post("/v1/orders", json=order_body("control")))
        await wire.spoiled.wait()
        await asyncio.sleep(8)
        assert not sent.done()
        wire.forward()
        wire.cut()
        assert says_unknown(await sent)


async def test_what_takes_long_for_good_reasons_is_not_cut(wire: Wire) -> None:
    """The control of the lookout: the server works, so nothing is lost."""

    async def sleep(tx: Tx) -> int:
        return len(await tx.fetch("SELECT pg_sleep(6)"))

    async def think(tx: Tx) -> int:
        await asyncio.sleep(6)  # the transaction is idle, and nobody waits for an answer
        return len(await tx.fetch("SELECT 1"))

    async with await Database.open(wire.url, limits=LONG) as database:
        assert await asyncio.gather(
            database.transact(sleep), database.read(sleep), database.transact(think), database.read(think)
        ) == [1, 1, 1, 1]


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_repeated_key_gets_the_first_outcome(
    wire: Wire, database: Database, no_lookout: None, direction: str
) -> None:
    async def on_hand() -> int:
        number: int = await database.pool.fetchval("SELECT on_hand FROM inventory.stock WHERE sku_id = 2")
        return number

    sent = {"sku": "sku-2", "location": "loc-1", "delta": 5, "reason": "found"}
    headers = {"Idempotency-Key": f"silent-{direction}"}
    async with calling(behind(wire)) as client:
        before = await on_hand()
        wire.spoil_at("COMMIT;", direction)
        async with soon():
            answer = await client.post("/v1/adjustments", json=sent, headers=headers)
        assert says_unknown(answer)
        wire.forward()
        async with soon():
            while (answer := await client.post("/v1/adjustments", json=sent, headers=headers)).status_code == 503:
                says_unknown(answer)
        assert answer.status_code < 300, answer.text
        assert (await client.post("/v1/adjustments", json=sent, headers=headers)).content == answer.content
    assert await on_hand() == before + 5


async def test_reads_are_answered_in_time_and_go_on(wire: Wire, no_lookout: None) -> None:
    paths = ["/v1/availability/sku-1?channel=refuse", "/v1/orders?limit=1", "/v1/skus"]
    async with calling(behind(wire)) as client:
        for path in paths:
            assert (await client.get(path)).status_code in (200, 404), path
        wire.silence()
        async with soon():
            answers = await asyncio.gather(*(client.get(path) for path in paths))
        assert {answer.status_code for answer in answers} == {503}
        assert (await client.get("/health")).status_code == 200
        wire.forward()
        for path in paths:

            async def is_served(path: str = path) -> bool:
                return (await client.get(path)).status_code in (200, 404)

            await until(is_served)


async def test_a_stream_says_what_was_done_and_can_be_sent_again(
    wire: Wire, database: Database, no_lookout: None
) -> None:
    rows = "".join(f'{{"code": "stream-{n}", "name": "S", "weight_grams": 100}}\n' for n in range(9000)).encode()
    headers = {"Content-Type": "application/x-ndjson"}
    async with calling(behind(wire)) as client:
        assert (await client.get("/v1/skus")).status_code == 200
        sent = asyncio.create_task(client.put("/v1/skus", content=rows[: len(rows) // 2], headers=headers))
        first = await sent
        assert first.status_code == 200, first.text
        wire.spoil_at("COMMIT;", "up")
        async with soon():
            broken = await client.put("/v1/skus", content=rows, headers=headers)
        assert broken.status_code == 503
        assert "safe to send them again" in broken.json()["detail"]
        wire.forward()

        async def is_taken() -> bool:
            answer = await client.put("/v1/skus", content=rows, headers=headers)
            return answer.status_code == 200 and answer.json()["rows"] == 9000

        await until(is_taken, 60)
    assert await database.pool.fetchval("SELECT count(*) FROM catalog.skus WHERE code LIKE 'stream-%'") == 9000


@pytest.mark.parametrize("way", ["cut", "half_close"])
async def test_connections_that_are_cut_are_replaced(wire: Wire, database: Database, way: str) -> None:
    async with calling(behind(wire)) as client:
        for number in range(3):
            await eventually_placed(client, f"{way}-{number}")
            sent = [
                asyncio.create_task(client.post("/v1/orders", json=order_body(f"{way}-{number}-{n}")))
                for n in range(30)
            ]
            await asyncio.sleep(0.01 * number)
            getattr(wire, way)()
            async with soon():
                answers = await asyncio.gather(*sent)
            assert {answer.status_code for answer in answers} <= {200, 201, 503}
            for n, answer in enumerate(answers):
                if answer.status_code == 503:
                    says_unknown(answer)
                    await eventually_placed(client, f"{way}-{number}-{n}")
                assert await count(database, f"{way}-{number}-{n}") == 1


async def test_a_worker_and_its_duties_go_on(wire: Wire, database: Database, no_lookout: None) -> None:
    registry = Registry()
    done: list[Any] = []
    duties: list[float] = []

    @registry.reaction("note_it")
    async def note_it(tx: Tx, tasks: Any, at: Any) -> None:
        done.extend(task.id for task in tasks)

    @registry.duty("look_around", every_seconds=0.2)
    async def look_around(tx: Tx, since: Any, at: Any) -> None:
        duties.append(time.monotonic())

    async def enqueue() -> Any:
        id = uuid4()
        await database.pool.execute(
            "INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)"
            " VALUES ($1, $2, 'note_it', $2, $2, now() - interval '1 second', '{}')",
            id.int % BUCKETS,
            id,
        )
        return id

    stop = asyncio.Event()
    async with await Database.open(wire.url, limits=SHORT) as through:
        working = asyncio.create_task(Worker(through, registry=registry, poll_seconds=0.05).run(stop))
        for text in ("BEGIN;", "note_it", "COMMIT;"):
            wire.spoil_at(text, "down")
            id = await enqueue()
            await asyncio.sleep(3)
            wire.forward()
            forwarded = time.monotonic()

            async def is_over(id: Any = id, forwarded: float = forwarded) -> bool:
                left = await database.pool.fetchval("SELECT count(*) FROM core.reactions WHERE id = $1", id)
                return id in done and not left and max(duties, default=0.0) > forwarded

            await until(is_over)
        stop.set()
        async with soon():
            await working


async def test_nothing_acknowledged_is_lost_or_doubled_on_a_bad_wire(wire: Wire, database: Database) -> None:
    """Orders one after the other while the wire goes silent, is cut and forwards again, ten times."""
    acknowledged: list[str] = []
    over = asyncio.Event()
    async with calling(behind(wire)) as client:

        async def customer(number: int) -> None:
            for n in range(10_000):
                if over.is_set():
                    return
                name = f"bad-{number}-{n}"
                while True:
                    answer = await client.post("/v1/orders", json=order_body(name))
                    if answer.status_code in (200, 201):
                        acknowledged.append(name)
                        break
                    says_unknown(answer)
                    await asyncio.sleep(0.05)

        async def weather() -> None:
            for n in range(8):
                await asyncio.sleep(0.5)
                if n % 4 == 3:
                    wire.cut()
                    continue
                wire.spoil_at(("BEGIN;", "COMMIT;", "bad-3")[n % 3], ("down", "up", "both")[n % 3])
                await asyncio.sleep(1.5)
                wire.forward()
            over.set()

        async with soon(150):
            await asyncio.gather(weather(), *(customer(number) for number in range(8)))
    assert len(acknowledged) > 8
    rows = await database.pool.fetch("SELECT external_id FROM orders.orders WHERE external_id LIKE 'bad-%'")
    names = [row["external_id"] for row in rows]
    assert sorted(names) == sorted(set(names))
    assert set(acknowledged) == set(names)
    await assert_clean(database)


@pytest.mark.parametrize("way", ["transact", "read"])
async def test_db_3_a_connection_on_which_the_server_has_said_its_last_word_is_away_and_dropped(
    wire: Wire, way: str
) -> None:
    used: list[Any] = []

    async def ask(tx: Tx) -> int:
        used.append(tx.connection)
        return len(await tx.fetch("SELECT 1"))

    async def has_heard() -> bool:
        return getattr(used[0].get_settings(), "farewell", "") == "heard"

    async with await Database.open(wire.url, pool_size=1, limits=SHORT) as database:
        assert await getattr(database, way)(ask) == 1
        wire.say_farewell()
        await until(has_heard)
        with pytest.raises(Away, match=r"broke off\. Nothing was changed"):
            await getattr(database, way)(ask)
        assert await getattr(database, way)(ask) == 1


async def test_db_2_a_refused_commit_is_known_to_be_undone(database: Database) -> None:
    """The server answers a commit with an error, such as a constraint that is checked last: nothing was changed."""
    await database.pool.execute(
        "CREATE TABLE public.late (n int, CONSTRAINT once UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)"
    )

    async def twice(tx: Tx) -> None:
        await tx.execute("INSERT INTO public.late VALUES (1), (1)")

    with pytest.raises(Exception, match="once") as raised:
        await database.transact(twice)
    assert not isinstance(raised.value, OutcomeUnknown)
    assert await database.pool.fetchval("SELECT count(*) FROM public.late") == 0


async def test_a_transaction_has_a_limit_and_says_that_nothing_was_changed(database: Database) -> None:
    async def slow(tx: Tx) -> None:
        await tx.fetch("SELECT pg_sleep(30)")

    async with soon():
        with pytest.raises(Away, match="Nothing was changed") as raised:
            await database.transact(slow, seconds=0.5)
    assert not isinstance(raised.value, OutcomeUnknown)


async def test_a_process_that_starts_during_an_outage_answers_503_and_serves_once_the_database_is_there(
    database: Database, wire: Wire
) -> None:
    """Its callers would be refused a connection otherwise, and its health would not be told."""
    wire.silence()
    settings = Settings(
        database_url=wire.url, connect_timeout_seconds=1.5, acquire_timeout_seconds=4.0, batch_timeout_seconds=3.0,
        body_limit_bytes=1_000_000,
    )  # fmt: skip

    async def open_database() -> Database:
        return await open_or_wait(settings)

    async with soon(), calling(build(open_database, settings)) as http:
        assert (await http.get("/health")).status_code == 200
        for answer in (
            await http.post("/v1/orders", json=order_body("early")),
            await http.get("/v1/orders/" + str(uuid4())),
            await http.get("/ready"),
        ):
            assert answer.status_code == 503, answer.text
        assert await count(database, "early") == 0
        wire.cut()
        wire.forward()
        assert (await http.post("/v1/orders", json=order_body("early"))).status_code == 201
    assert await count(database, "early") == 1
