"""What events say is a promise: every kind is declared, described, written by some test, and read for ever."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from happenings import Happened, played
from ordino.api.server import load_stages
from ordino.core.database import Database, Tx
from ordino.core.errors import Unavailable
from ordino.core.events import Event, Plans, Step, record
from ordino.core.log import Logged, events_by_id
from ordino.core.payloads import KINDS, Declared, Payload, event_kinds, fields_of, payload_of
from ordino.inventory.events import StockReceived
from ordino.orders.events import OrderPlaced, PaymentDeclined
from steps import unread
from stored import TESTS, Stored, stored, writes

SOURCE = TESTS.parent / "src" / "ordino"
SNAPSHOT = TESTS / "event_kinds.txt"
AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)

load_stages()


# -- every kind ------------------------------------------------------------------------------------------------------------


def test_every_kind_says_what_happened_and_what_each_fact_is() -> None:
    for one in event_kinds():
        assert re.fullmatch(r"[A-Z].*[^.]\.", one.sentence), f"{one.kind} says what happened in a sentence"
        undescribed = [field.name for field in one.fields if not field.description.endswith(".")]
        assert undescribed == [], f"{one.kind} does not describe these"
        nullable = [field for field in one.fields if "or null" in field.type and "null" not in field.description]
        assert nullable == [], f"{one.kind} does not say when these are null"
        absent = [field for field in one.fields if not field.always and "bsent" not in field.description]
        assert absent == [], f"{one.kind} does not say when these are absent"


def test_every_kind_is_declared_in_the_events_py_of_its_stage() -> None:
    assert len(KINDS) > 60
    for kind, one in KINDS.items():
        assert one.payload.__module__ == f"ordino.{one.stage}.events"
        words = re.sub(r"(?<!^)([A-Z])", r"_\1", one.payload.__name__).lower()
        assert words == kind, "the type is named as its kind"


def test_nothing_is_declared_that_nobody_writes() -> None:
    """A flow that waits for it would wait for ever. Whoever writes it names its type outside of events.py."""
    named = {
        node.id
        for path in SOURCE.rglob("*.py")
        if path.name != "events.py" or path.parent.name == "core"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    } | {
        alias.name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".events")
        for alias in node.names
    }
    assert sorted(kind for kind, one in KINDS.items() if one.payload.__name__ not in named) == []


def test_every_kind_is_written_by_a_test() -> None:
    """That the test really writes it is seen whenever that test is run (``writes_what_it_says`` in conftest.py)."""
    written = {row.kind: row.written_by for row in stored()}
    assert sorted(KINDS.keys() - written.keys()) == []
    for kind, test in written.items():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8"), f"{kind}: there is no test {test}"


async def test_a_test_that_says_that_it_writes_a_kind_and_does_not_fails(database: Database) -> None:
    """The negative control."""
    event = Event(uuid4(), uuid4(), AT, StockReceived(sku_ids=[1]), 0)
    with writes(frozenset({"stock_received"})):
        await database.transact(lambda tx: record(tx, [event]))
    with (
        pytest.raises(AssertionError, match="no event of the kind order_placed was written"),
        writes(frozenset({"stock_received", "order_placed"})),
    ):
        await database.transact(lambda tx: record(tx, [msgspec.structs.replace(event, id=uuid4())]))


# -- what is stored is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", stored(), ids=lambda row: row.kind)
def test_what_was_stored_before_is_read_and_would_be_stored_so_again(row: Stored) -> None:
    payload = KINDS[row.kind].read(row.data)
    assert type(payload) is KINDS[row.kind].payload
    assert unread(row.kind, row.data) == {}


ID = "01a225db-840f-7000-8002-34bb8d40178c"
THEN = "2026-03-02T17:00:00Z"
UNIT = {"line_no": 1, "quantity": 2}
OLDER = [
    (
        "order_placed",
        {"channel": "web", "total_minor": 100, "dropped": [2], "never_served": [{"line_no": 2, "why": "."}]},
    ),
    ("units_cancelled", {"lines": [UNIT], "reason": "customer_request", "amount_minor": 100}),
    ("exception_cleared", {"exception_id": ID, "line_no": None, "fulfillment_order_id": ID}),
    ("shipment_delivered", {"shipment_id": ID, "tracking_number": "T", "lines": [UNIT]}),
    ("shipment_delayed", {"shipment_id": ID, "tracking_number": "T", "expected_at": THEN}),
    ("shipment_late", {"shipment_id": ID, "tracking_number": "T", "promised_at": THEN, "expected_at": THEN}),
    ("return_authorized", {"return_id": ID, "location": "a", "lines": [{**UNIT, "reason": "too_small"}]}),
    (
        "return_received",
        {"return_id": ID, "lines": [{"line_no": 1, "restocked": 1, "scrapped": 0}], "refund_minor": 100},
    ),
    (
        "shipment_shipped",
        {
            "shipment_id": ID,
            "fulfillment_order_id": ID,
            "tracking_number": "T",
            "amount_minor": 1,
            "lines": [UNIT],
            "promised_at": THEN,
        },
    ),
]
"""As still earlier versions of the program have written them."""


@pytest.mark.parametrize(("kind", "data"), OLDER, ids=[kind for kind, _ in OLDER])
def test_what_was_stored_long_before_is_read_too(kind: str, data: dict[str, Any]) -> None:
    assert type(KINDS[kind].read(data)) is KINDS[kind].payload


def test_what_a_later_version_adds_is_ignored() -> None:
    later = {"channel": "web", "total_minor": 100, "gift": True, "backordered": [{**UNIT, "since": THEN}]}
    read = KINDS["order_placed"].read(later)
    assert isinstance(read, OrderPlaced)
    assert msgspec.to_builtins(read) == {"channel": "web", "total_minor": 100, "backordered": [UNIT]}
    assert unread("order_placed", later) == {"gift": True, "backordered": [{**UNIT, "since": THEN}]}


# -- the snapshot ----------------------------------------------------------------------------------------------------------


Fields = Mapping[str, tuple[str, str]]
"""The path of a field -> its type, and whether it is `always` or `sometimes` there."""
Snapshot = Mapping[tuple[str, int], Fields]
"""Kind and version -> fields."""


def as_declared(kinds: Mapping[str, Declared]) -> Snapshot:
    return {
        (kind, type_.version): {
            field.name: (field.type, "always" if field.always else "sometimes") for field in fields_of(type_)
        }
        for kind, one in sorted(kinds.items())
        for type_ in (*one.earlier.values(), one.payload)
    }


def lines_of(snapshot: Snapshot) -> list[str]:
    return [
        line
        for (kind, version), fields in snapshot.items()
        for line in (
            f"{kind} {version}",
            *(f"{kind} {version} {name}: {type_}, {there}" for name, (type_, there) in fields.items()),
        )
    ]


def read_snapshot(lines: list[str]) -> Snapshot:
    found: dict[tuple[str, int], dict[str, tuple[str, str]]] = {}
    for line in lines:
        kind, version, *field = line.split(" ", 2)
        fields = found.setdefault((kind, int(version)), {})
        if field:
            name, _, rest = field[0].partition(": ")
            type_, _, there = rest.rpartition(", ")
            fields[name] = (type_, there)
    return found


def broken(before: Snapshot, now: Snapshot) -> Iterator[str]:
    """What readers of these events, or events that are stored, could not bear."""
    for (kind, version), fields in before.items():
        if (kind, version) not in now:
            yield f"{kind}: version {version} is stored, and is no longer read"
            continue
        is_now = now[kind, version]
        for name, was in fields.items():
            if is_now.get(name) != was:
                yield f"{kind}: {name} was {was}, and is {is_now.get(name, 'gone')}"
        for name, (_, there) in is_now.items():
            parent, _, _ = name.rpartition(".")
            new_with_its_parent = parent and parent.removesuffix("[]") not in fields
            if name not in fields and there == "always" and not new_with_its_parent:
                yield f"{kind}: {name} is new, and stored events do not have it"


def test_what_events_say_changes_only_with_their_version() -> None:
    before, now = read_snapshot(SNAPSHOT.read_text(encoding="utf-8").splitlines()), as_declared(KINDS)
    changed = list(broken(before, now))
    assert changed == [], "give the kind a new version (core/payloads.py says how), or make the new field optional"
    missing = [line for line in lines_of(now) if line not in lines_of(before)]
    assert missing == [], f"add these lines to {SNAPSHOT.name}, in the order of the kinds"
    assert lines_of(now) == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def declared(*types: type[Payload]) -> Snapshot:
    return as_declared({"counted": Declared.of(*types)})


class Counted(Payload, kind="counted"):
    """Something was counted."""

    units: Annotated[int, Meta(description="So many.")]


class CountedWhere(Payload, kind="counted"):
    """Something was counted."""

    units: Annotated[int, Meta(description="So many.")]
    where: Annotated[str | UnsetType, Meta(description="Where. Absent in older events.")] = UNSET


class CountedThere(Payload, kind="counted"):
    """Something was counted."""

    units: Annotated[int, Meta(description="So many.")]
    where: Annotated[str, Meta(description="Where.")]


class CountedInWords(Payload, kind="counted"):
    """Something was counted."""

    units: Annotated[str, Meta(description="So many.")]


class CountedThereNow(Payload, kind="counted", version=2):
    """Something was counted."""

    units: Annotated[int, Meta(description="So many.")]
    where: Annotated[str, Meta(description="Where.")]


def test_a_field_that_may_be_absent_is_added_freely_and_others_need_a_new_version() -> None:
    before = declared(Counted)
    assert list(broken(before, declared(Counted))) == []
    assert list(broken(before, declared(CountedWhere))) == []
    assert list(broken(before, declared(Counted, CountedThereNow))) == []
    assert list(broken(before, declared(CountedThere))) == ["counted: where is new, and stored events do not have it"]
    assert list(broken(declared(CountedWhere), declared(Counted))) == [
        "counted: where was ('string', 'sometimes'), and is gone"
    ]
    assert list(broken(before, declared(CountedInWords))) == [
        "counted: units was ('integer', 'always'), and is ('string', 'always')"
    ]
    assert list(broken(before, declared(CountedThereNow))) == ["counted: version 1 is stored, and is no longer read"]
    assert read_snapshot(lines_of(declared(Counted, CountedThereNow))) == declared(Counted, CountedThereNow)


# -- versions --------------------------------------------------------------------------------------------------------------


class WithFacts(msgspec.Struct):
    """As a task or a logged event has them."""

    data: dict[str, Any]


def test_each_version_is_read_by_its_own_type_and_only_later_ones_say_which_they_are() -> None:
    kind = Declared.of(CountedThereNow, Counted)
    assert (kind.version, kind.payload, kind.earlier) == (2, CountedThereNow, {1: Counted})
    assert msgspec.to_builtins(Counted(units=3)) == {"units": 3}
    second = CountedThereNow(units=3, where="here")
    told = msgspec.json.decode(msgspec.json.encode(second))
    assert told == {"event_version": 2, "units": 3, "where": "here"}
    assert kind.read({"units": 3}) == Counted(units=3)
    assert kind.read(told) == second
    told_first, told_second = WithFacts(data={"units": 3}), WithFacts(data=told)
    assert payload_of(told_second, CountedThereNow) == second
    with pytest.raises(msgspec.ValidationError, match="CountedThereNow is not the type of version 1"):
        payload_of(told_first, CountedThereNow)
    with pytest.raises(Unavailable, match="version 3 of `counted`, which this program does not know yet"):
        kind.read({"event_version": 3, "units": "three"})


def test_facts_are_given_by_name_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError):
        Counted(3)  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Counted(units=3).units = 4  # type: ignore[misc]


# -- writing and reading ---------------------------------------------------------------------------------------------------


async def test_a_payload_that_nobody_has_declared_is_not_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(payload: Payload) -> None:
        await database.transact(lambda tx: record(tx, [Event(uuid4(), uuid4(), AT, payload, 0)]))

    with pytest.raises(TypeError, match="Happened is not declared"):
        await write(Happened(n=1))
    monkeypatch.setitem(KINDS, "counted", Declared.of(Counted, CountedThereNow))
    with pytest.raises(TypeError, match="Counted is not declared as the newest version"):
        await write(Counted(units=3))
    await write(CountedThereNow(units=3, where="here"))
    with played():
        await write(Happened(n=1))


async def test_options_of_the_flow_are_merged_into_what_a_reaction_is_told(database_url: str) -> None:
    steps = (Step("plain"), Step("told", options={"template": "late", "reason": "of the flow"}))

    async def load(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return {"payment_declined": steps, "happened": steps}

    declined = PaymentDeclined(amount_minor=5, reason="of the provider", of="capture")
    async with await Database.open(database_url, plans=Plans(load)) as database:
        with played():
            events = [Event(uuid4(), uuid4(), AT, payload, 1) for payload in (declined, Happened())]
            await database.transact(lambda tx: record(tx, events))
        rows = await database.pool.fetch("SELECT event_id, kind, data::text FROM core.reactions")
    told = {(row["event_id"], row["kind"]): msgspec.json.decode(row["data"]) for row in rows}
    facts = {"amount_minor": 5, "reason": "of the provider", "of": "capture"}
    options = {"template": "late", "reason": "of the flow"}
    assert told == {
        (events[0].id, "plain"): facts,
        (events[0].id, "told"): {**facts, **options},
        (events[1].id, "plain"): {},
        (events[1].id, "told"): options,
    }


async def test_the_log_gives_facts_as_json_and_typed(database: Database) -> None:
    payload = StockReceived(sku_ids=[1, 2], found=[(1, 7)])
    event = Event(uuid4(), uuid4(), AT, payload, 0)
    await database.transact(lambda tx: record(tx, [event]))
    [read] = await database.read(lambda tx: events_by_id(tx, [(event.subject_id, event.id)]))
    assert read.data == {"sku_ids": [1, 2], "found": [[1, 7]]}
    assert read.payload() == payload
    assert payload_of(read, StockReceived) == payload
    gone = msgspec.structs.replace(read, kind="gone")
    with pytest.raises(LookupError, match="No stage declares the event 'gone'"):
        gone.payload()
    assert "data" in inspect.signature(Logged).parameters
