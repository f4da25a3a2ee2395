"""LOG-1 to LOG-3: whoever follows the log misses no event and reads none twice, whatever is committed when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import database_before, finish, new_database, run_revisions
from happenings import TYPES, Happened, played
from ordino.api.server import load_stages
from ordino.core import log
from ordino.core.database import Database, Tx
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import Invalid
from ordino.core.events import Event, Plan, Plans, record
from ordino.core.events import Step as Following
from ordino.core.ids import new_id, new_ids
from ordino.core.log import END, NIL, Cursor, Head, Logged, head, known_kinds, read, read_cursor, sequence, written
from ordino.core.statements import Statement, statements

SQL = statements("ordino.core")
AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    with played():
        yield


def event(subject_id: UUID, kind: str = "happened", at: datetime = AT, **data: Any) -> Event:
    return Event(subject_id, new_id(at), at, TYPES[kind](**data), 0)


async def happen(database: Database, *events: Event) -> None:
    await database.transact(lambda tx: record(tx, events))


async def sequenced(database: Database) -> None:
    while await sequence(database):
        pass


async def end_of(database: Database) -> Cursor:
    await sequenced(database)
    return (await database.read(head)).end


async def rest(
    database: Database, after: Cursor, *, kinds: Sequence[str] | None = None, limit: int = 1000
) -> tuple[list[Logged], Cursor]:
    """Everything that has a position after a cursor, page by page."""
    found: list[Logged] = []
    while True:
        page = await database.read(lambda tx, after=after: read(tx, after, kinds=kinds, limit=limit))  # type: ignore[misc]
        assert len(page.events) <= limit
        found += page.events
        after = page.next
        if not page.more:
            return found, after


class Writer:
    """A transaction that has recorded its events and commits when it is told to."""

    def __init__(self, database: Database, events: Sequence[Event]) -> None:
        self.events = events
        self._recorded, self._go = asyncio.Event(), asyncio.Event()
        self._abort = False
        self._task = asyncio.create_task(database.transact(self._run))

    async def _run(self, tx: Tx) -> None:
        await record(tx, self.events)
        self._recorded.set()
        await self._go.wait()
        if self._abort:
            raise ZeroDivisionError

    async def recorded(self) -> None:
        await self._recorded.wait()

    async def end(self, *, abort: bool = False) -> None:
        self._abort = abort
        self._go.set()
        try:
            await self._task
        except ZeroDivisionError:
            assert abort


async def test_log_1_what_commits_late_is_read_after_what_was_read_before(database: Database) -> None:
    start = await end_of(database)
    slow = Writer(database, [event(uuid4(), n=1)])
    await slow.recorded()
    fast = event(uuid4(), n=2)
    await happen(database, fast)
    await sequenced(database)
    found, cursor = await rest(database, start)
    assert [one.id for one in found] == [fast.id]
    await slow.end()
    await sequenced(database)
    found, _ = await rest(database, cursor)
    assert [one.id for one in found] == [slow.events[0].id]
    assert found[0].id < fast.id  # by its id, it would lie below the cursor


async def test_what_happened_and_what_follows_are_written_in_one_statement(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, asked, order = Tx.fetch, [], uuid4()

    async def counted(tx: Tx, query: str, /, *args: Any) -> list[Any]:
        asked.append(query)
        return await fetch(tx, query, *args)

    async def plan(tx: Tx, version: int) -> Plan:
        return {"happened": (Following("tell"), Following("remind", 60, {"n": 2}))}

    monkeypatch.setattr(Tx, "fetch", counted)
    monkeypatch.setattr(database, "plans", Plans(plan))
    events = [event(order, n=1), event(order, "else_happened")]
    await happen(database, *events)
    assert len(asked) == 1
    rows = await database.pool.fetch(
        "DELETE FROM core.reactions WHERE subject_id = $1 RETURNING kind, event_id, due_at, data::text", order
    )
    assert sorted(map(tuple, rows)) == [
        ("remind", events[0].id, AT + timedelta(seconds=60), '{"n": 2}'),
        ("tell", events[0].id, AT, '{"n": 1}'),
    ]
    assert await database.pool.fetchval("SELECT count(*) FROM core.events WHERE subject_id = $1", order) == 2


async def test_log_1_what_is_rolled_back_leaves_no_gap(database: Database) -> None:
    start = await end_of(database)
    aborted = Writer(database, [event(uuid4())])
    await aborted.recorded()
    await happen(database, event(uuid4()))
    await aborted.end(abort=True)
    await happen(database, event(uuid4()))
    await sequenced(database)
    found, _ = await rest(database, start)
    assert [one.cursor.position for one in found] == [start.position + 1, start.position + 2]


async def test_log_1_history_with_times_of_the_past_is_new_to_who_follows(database: Database) -> None:
    await happen(database, event(uuid4()))
    start = await end_of(database)
    old = event(uuid4(), at=AT - timedelta(days=3000), reason="imported")
    await happen(database, old)
    await sequenced(database)
    [found], _ = await rest(database, start)
    assert (found.id, found.subject_id, found.kind, found.at, found.data) == (
        old.id, old.subject_id, "happened", old.at, {"reason": "imported"},
    )  # fmt: skip
    assert found.recorded_at is not None
    assert found.recorded_at > old.at


async def test_log_3_two_sequencers_at_once_leave_no_gap_and_no_double(database: Database) -> None:
    start = await end_of(database)
    stop = asyncio.Event()

    async def sequencer() -> None:
        while not stop.is_set():
            await sequence(database, limit=3)

    async def writer() -> list[UUID]:
        ids = []
        for _ in range(40):
            one = event(uuid4())
            await happen(database, one)
            ids.append(one.id)
        return ids

    sequencers = [asyncio.create_task(sequencer()) for _ in range(2)]
    recorded = await asyncio.gather(*(writer() for _ in range(3)))
    stop.set()
    await asyncio.gather(*sequencers)
    await sequenced(database)
    found, _ = await rest(database, start, limit=7)
    assert sorted(one.id for one in found) == sorted(id for ids in recorded for id in ids)
    assert [one.cursor.position for one in found] == list(range(start.position + 1, start.position + 121))


class Unheld:
    """The statements, as if the log were never held; ``pause`` stops one sequencer after it has looked for sets."""

    def __init__(self) -> None:
        self.looked, self.go_on = asyncio.Event(), asyncio.Event()
        self.first = True

    def __getattr__(self, name: str) -> Any:
        found: Statement = getattr(SQL, name)
        if name == "hold_log":
            return Statement(name, found.text.removesuffix("FOR NO KEY UPDATE SKIP LOCKED"))
        return self._pausing if name == "waiting_sets" and self.first else found

    async def _pausing(self, tx: Tx, **values: Any) -> Any:
        self.first = False
        rows = await SQL.waiting_sets(tx, **values)
        self.looked.set()
        await self.go_on.wait()
        return rows


@pytest.mark.parametrize("unheld", [False, True], ids=["held", "negative control"])
async def test_log_3_a_slow_sequencer_and_a_fast_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, unheld: bool
) -> None:
    start, pausing = await end_of(database), Unheld()
    if not unheld:
        monkeypatch.setattr(Unheld, "__getattr__", lambda self, name: self._pausing if name == "waiting_sets" and self.first else getattr(SQL, name))  # fmt: skip
    monkeypatch.setattr(log, "sql", pausing)
    ids = []
    for n in range(3):
        one = event(uuid4(), n=n)
        ids.append(one.id)
        await happen(database, one)
        if n == 0:
            slow = asyncio.create_task(sequence(database))
            await pausing.looked.wait()
        if n == 1:
            assert await sequence(database) == (2 if unheld else 0)
            first, cursor = await rest(database, start)
            pausing.go_on.set()
            assert await slow == 1
    await sequenced(database)
    found, _ = await rest(database, cursor)
    told = [one.id for one in [*first, *found]]
    assert (told == ids) is not unheld  # without the lock, a position is given twice, and its second event is missed
    if unheld:
        await database.pool.execute(
            "UPDATE core.event_sets s SET position = $1 + n FROM (SELECT set_id, row_number() OVER (ORDER BY written) AS n FROM "
            "core.event_sets WHERE position > $1) i WHERE s.set_id = i.set_id",
            start.position,
        )
        await database.pool.execute("UPDATE core.log_head SET head = $1", start.position + 3)


async def test_log_3_a_sequencer_that_dies_in_its_transaction_has_given_nothing(
    database: Database, database_url: str
) -> None:
    start = await end_of(database)
    await happen(database, event(uuid4()))
    dying = await asyncpg.connect(database_url)
    await dying.execute("BEGIN; SELECT FROM core.log_head FOR NO KEY UPDATE")
    await dying.execute(f"UPDATE core.event_sets SET position = {start.position + 1} WHERE position IS NULL")
    assert await sequence(database) == 0  # another one is at it
    dying.terminate()
    async with asyncio.timeout(60):
        while not await sequence(database):  # its connection ends first
            pass
    found, _ = await rest(database, start)
    assert [one.cursor.position for one in found] == [start.position + 1]


@asynccontextmanager
async def held(database: Database, number: int) -> AsyncIterator[Any]:
    """A connection that has one order of many for itself, as verbs have theirs."""
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", number)
        yield connection


async def test_log_2_an_orders_events_come_as_they_happened_whatever_clocks_say(database: Database) -> None:
    start = await end_of(database)
    orders = [uuid4() for _ in range(3)]
    happened: dict[UUID, list[UUID]] = {order: [] for order in orders}
    stop = asyncio.Event()

    async def work(seed: int) -> None:
        for step in range(30):
            number = (seed + step * 7) % 3
            # The business's clock jumps, and the server's is set back again and again.
            at = AT - timedelta(hours=(seed * 31 + step * 17) % 50)

            async def run(tx: Tx, number: int = number, at: datetime = at) -> None:
                await tx.execute("SELECT pg_advisory_xact_lock($1)", number)
                ids = new_ids(at, 2)[::-1]  # ids of one call need not ascend
                await record(tx, [Event(orders[number], id, at, Happened(), 0) for id in ids])
                await tx.execute(
                    "UPDATE core.event_sets SET recorded_at = recorded_at - random() * interval '1 hour' WHERE set_id IN "
                    "(SELECT set_id FROM core.events WHERE id = $1)",
                    ids[0],
                )
                happened[orders[number]] += ids

            await database.transact(run)

    async def sequencer() -> None:
        while not stop.is_set():
            await sequence(database)
            await asyncio.sleep(0.005)

    sequencing = asyncio.create_task(sequencer())
    await asyncio.gather(*(work(seed) for seed in range(4)))
    stop.set()
    await sequencing
    await sequenced(database)
    found, _ = await rest(database, start, limit=17)
    for order in orders:
        assert [one.id for one in found if one.subject_id == order] == happened[order]
    by_clock = sorted(found, key=lambda one: (one.recorded_at, one.id))
    assert any(
        [one.id for one in by_clock if one.subject_id == order] != happened[order] for order in orders
    )  # the clock would have it otherwise


async def test_log_2_what_one_transaction_records_call_by_call_comes_in_that_order(database: Database) -> None:
    start, order = await end_of(database), uuid4()
    events = [event(order, at=AT - timedelta(hours=n), n=n) for n in range(20)]

    async def run(tx: Tx) -> None:
        for one in events:
            await record(tx, [one])

    await database.transact(run)
    assert await sequence(database, limit=7) == 7
    await sequenced(database)
    found, _ = await rest(database, start)
    assert [one.data["n"] for one in found] == list(range(20))


async def test_a_set_is_read_page_by_page_from_any_place(database: Database) -> None:
    start = await end_of(database)
    events = [event(uuid4(), n=n) for n in range(10)]
    await happen(database, *events)
    await happen(database, event(uuid4(), n=10))
    await sequenced(database)
    for limit in (1, 2, 3, 5, 10, 11, 1000):
        found, cursor = await rest(database, start, limit=limit)
        assert [one.data["n"] for one in found] == list(range(11))
        assert cursor == Cursor(start.position + 2, END)
    for place, one in enumerate(found):
        after, _ = await rest(database, one.cursor)
        assert [other.data["n"] for other in after] == list(range(place + 1, 11))


async def test_of_some_kinds_every_page_goes_on_even_where_none_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SCANNED", 5)
    start = await end_of(database)
    for n in range(30):
        await happen(database, event(uuid4(), "rare" if n == 20 else "common", n=n))
    await sequenced(database)
    page = await database.read(lambda tx: read(tx, start, kinds=["rare"], limit=2))
    assert (page.events, page.more) == ([], True)
    assert page.next > start
    found, cursor = await rest(database, start, kinds=["rare"], limit=2)
    assert [one.data["n"] for one in found] == [20]
    assert cursor == (await database.read(head)).end


async def test_what_another_server_has_written_comes_before_what_this_one_writes(database: Database) -> None:
    """A database that is restored elsewhere begins at another place of the write-ahead log."""
    start = await end_of(database)
    order = uuid4()
    for n in range(3):
        await happen(database, event(order, n=n))
    await database.pool.execute("UPDATE core.event_sets SET written = written + 1e15::numeric WHERE position IS NULL")
    for n in range(3, 6):
        await happen(database, event(order, n=n))
    assert await sequence(database, limit=4) == 4
    await sequenced(database)
    found, _ = await rest(database, start)
    assert [one.data["n"] for one in found] == list(range(6))


async def test_events_of_the_version_before_are_adopted(database: Database) -> None:
    start = await end_of(database)
    order = uuid4()
    ids = new_ids(AT, 3)
    for id in ids:
        await database.pool.execute(
            "INSERT INTO core.events (subject_id, id, kind, at, data) VALUES ($1, $2, 'happened', $3, '{}')",
            order,
            id,
            AT,
        )
    await happen(database, event(order))
    await sequence(database)
    found, _ = await rest(database, start, limit=2)
    assert [one.id for one in found][:3] == ids
    assert len(found) == 4
    assert await sequence(database) == 0


async def test_events_from_before_the_log_are_read_subject_by_subject(cluster: EmbeddedPostgres) -> None:
    async with new_database(cluster) as url, await Database.open(url, pool_size=2) as old:
        connection = await asyncpg.connect(url)
        await run_revisions(connection, before="0019")
        orders = sorted(uuid4() for _ in range(5))
        ids = new_ids(AT, 20)
        for n, id in enumerate(ids):
            await connection.execute(
                "INSERT INTO core.events VALUES ($1, $2, $3, $4, '{}')",
                orders[n % 5],
                id,
                "odd" if n % 2 else "even",
                AT,
            )
        await run_revisions(connection, since="0019")
        await connection.close()
        later = event(orders[2])
        await happen(old, later)
        await sequenced(old)
        expected = [*sorted((orders[n % 5], id) for n, id in enumerate(ids)), (orders[2], later.id)]
        for limit in (1, 3, 20, 21, 100):
            found, _ = await rest(old, Cursor(), limit=limit)
            assert [(one.subject_id, one.id) for one in found] == expected
        assert {one.cursor.position for one in found[:-1]} == {0}
        assert found[0].recorded_at is None
        for one in found:
            after, _ = await rest(old, one.cursor, limit=7)
            assert [other.id for other in after] == [id for _, id in expected[found.index(one) + 1 :]]
        odd, _ = await rest(old, Cursor(), kinds=["odd"], limit=4)
        assert [one.id for one in odd] == [id for order, id in expected if id in ids[1::2]]


async def test_the_revision_rewrites_no_row(cluster: EmbeddedPostgres) -> None:
    async with database_before(cluster, "0019") as connection:
        await connection.execute(
            "INSERT INTO core.events SELECT gen_random_uuid(), gen_random_uuid(), 'x', now(), '{}' FROM generate_series(1, 1000)"
        )
        where = "SELECT pg_relation_filenode('core.events'), sum(hashtext(ctid::text)) FROM core.events"
        before = await connection.fetchrow(where)
        await run_revisions(connection, since="0019", before="0020")
        assert await connection.fetchrow(where) == before
        assert await connection.fetchval("SELECT count(*) FROM core.events WHERE set_id IS NOT NULL") == 0


ONE = Head(log_id=uuid4(), head=10, last_before=None)


@pytest.mark.parametrize(
    "cursor", [Cursor(), Cursor(0, END), Cursor(3, 7), Cursor(10, END), Cursor(0, 0, uuid4(), uuid4())], ids="ABCDE"
)
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    text = written(cursor, ONE)
    assert read_cursor(text, ONE) == cursor
    assert text.isascii()
    assert len(text) <= 80


def test_what_is_no_cursor_of_this_log_is_refused_with_what_to_do() -> None:
    sound = written(Cursor(10, 3), ONE)
    other = Head(log_id=uuid4(), head=10, last_before=None)
    older = Head(log_id=ONE.log_id, head=9, last_before=None)
    for text, now, why in [
        ("", ONE, "not a cursor"),
        ("garbage", ONE, "not a cursor"),
        ("ä", ONE, "not a cursor"),
        (sound[:-1], ONE, "not a cursor"),
        (sound[:8] + ("A" if sound[8] != "A" else "B") + sound[9:], ONE, "not a cursor"),
        (str(uuid4()), ONE, "not a cursor"),
        (sound, other, "of another database"),
        (sound, older, "ahead of the log"),
    ]:
        with pytest.raises(Invalid, match=why) as refused:
            read_cursor(text, now)
        assert refused.value.code == "bad_cursor"
        assert "'beginning' to read everything" in str(refused.value)
    assert read_cursor("beginning", ONE) == Cursor()
    assert read_cursor("now", ONE) == Cursor(10, END)


def test_cursors_are_ordered_as_the_log_is() -> None:
    a, b = sorted((uuid4(), uuid4()))
    ordered = [
        Cursor(),
        Cursor(0, 0, a, b),
        Cursor(0, 0, b, a),
        Cursor(0, END),
        Cursor(1, 1),
        Cursor(1, END),
        Cursor(2, 1),
    ]
    assert sorted(set(ordered)) == ordered
    assert Cursor().subject_id == NIL


def test_kinds_that_nobody_writes_are_refused_with_those_that_there_are() -> None:
    load_stages()
    with pytest.raises(
        Invalid, match=r"no events of the kind 'order_plcaed'. The kinds are: .*stock_received"
    ) as refused:
        known_kinds(["stock_received", "order_plcaed"])
    assert refused.value.faults[0].pointer == "/kinds"
    with pytest.raises(Invalid, match="leave the kinds out"):
        known_kinds([])
    assert known_kinds(["stock_received", "stock_received"]) == ["stock_received"]
    assert known_kinds(None) is None


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "commit", "commit", "abort", "sequence", "read"]), st.integers(0, 5)),
    max_size=25,
)


class Readers:
    """Three readers of one log: by its cursor, by ids, and by positions that are given before the commit."""

    def __init__(self, database: Database, cursor: Cursor) -> None:
        self.database = database
        self.cursor = cursor
        self.read: list[UUID] = []
        self.by_id: list[UUID] = []
        self.by_early_position: list[int] = []

    async def look(self) -> None:
        found, self.cursor = await rest(self.database, self.cursor, limit=2)
        self.read += [one.id for one in found]
        last_id = max(self.by_id, default=NIL)
        rows = await self.database.pool.fetch(
            "SELECT id FROM core.events WHERE kind = 'raced' AND id > $1 ORDER BY id", last_id
        )
        self.by_id += [row["id"] for row in rows]
        last = max(self.by_early_position, default=0)
        rows = await self.database.pool.fetch(
            "SELECT (data->>'n')::int AS n FROM core.events WHERE kind = 'raced' AND (data->>'n')::int > $1 ORDER BY 1",
            last,
        )
        self.by_early_position += [row["n"] for row in rows]


async def interleaved(database: Database, steps: Sequence[Step]) -> tuple[Readers, list[Event]]:
    """Run the steps: transactions begin, commit or are rolled back, positions are given, and the readers look."""
    await database.pool.execute("DELETE FROM core.events WHERE kind = 'raced'")
    await database.pool.execute("UPDATE core.event_sets s SET events = events")  # rows move about
    readers = Readers(database, await end_of(database))
    under_way: dict[int, Writer] = {}
    committed: list[Event] = []
    given = 0
    for step, which in [*steps, *(("commit", which) for which in range(6)), ("sequence", 0), ("read", 0)]:
        if step == "begin" and which not in under_way:
            made = []
            for _ in range(which % 3 + 1):
                given += 1  # the early position, as a counter outside of transactions would give it
                made.append(event(uuid4(), "raced", AT + timedelta(seconds=given), n=given))
            under_way[which] = Writer(database, made)
            await under_way[which].recorded()
        elif step in ("commit", "abort") and which in under_way:
            writer = under_way.pop(which)
            await writer.end(abort=step == "abort")
            committed += writer.events if step == "commit" else ()
        elif step == "sequence":
            await sequence(database, limit=which + 1)
        elif step == "read":
            await readers.look()
    await sequenced(database)
    await readers.look()
    return readers, committed


@given(steps=STEPS)
@settings(max_examples=40)
def test_log_1_no_interleaving_loses_an_event_or_reads_one_twice(database_url: str, steps: list[Step]) -> None:
    async def run() -> None:
        async with await Database.open(database_url, pool_size=8) as database:
            readers, committed = await interleaved(database, steps)
            assert sorted(readers.read) == sorted(one.id for one in committed)

    finish(run())


async def test_ids_and_positions_from_before_the_commit_are_no_cursor(database: Database) -> None:
    """The negative control: the same readers, one slow commit."""
    steps = [
        ("begin", 0),
        ("begin", 3),
        ("commit", 3),
        ("sequence", 5),
        ("read", 0),
        ("commit", 0),
        ("sequence", 5),
        ("read", 0),
    ]
    readers, committed = await interleaved(database, steps)
    ids = {one.id for one in committed}
    assert sorted(readers.read) == sorted(ids)
    assert ids - set(readers.by_id)
    assert {one.payload.n for one in committed} - set(readers.by_early_position)
