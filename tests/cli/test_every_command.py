"""Every command of the CLI is run here, or by the test that is named for it: a command that nothing runs breaks unseen."""

from __future__ import annotations

import inspect
import io
import json
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from cyclopts import App

from conftest import finish
from ordino.cli import commands as commands_module
from ordino.cli import main, terminal
from ordino.cli.commands import app
from ordino.cli.running import prepare
from ordino.core.accounts import pause
from ordino.core.database import Database
from ordino.core.ids import new_id
from ordino.core.log import sequence
from ordino.core.reactions import Worker
from ordino.flows.document import packaged
from ordino.flows.versions import flow_plans
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.take_events import take_events
from shop import state
from steps import delivered, in_one, placed, released, shipped
from world import World, small_world

ELSEWHERE = {
    "up": "test_commands.py::test_up_starts_everything_keeps_its_port_and_stops_in_order",
    "serve": "test_commands.py::test_up_starts_everything_keeps_its_port_and_stops_in_order",
    "work": "test_commands.py::test_up_starts_everything_keeps_its_port_and_stops_in_order",
    "demo": "test_demo.py::test_the_command_replays_a_month_and_ends",
    "bench": "test_bench.py::test_every_figure_runs",
}
On = Callable[[Callable[[Database], Coroutine[Any, Any, Any]]], Any]
THEN = datetime.now(UTC) - timedelta(days=2)


def commands(of: App = app, path: tuple[str, ...] = ()) -> Iterator[str]:
    """All commands, with their groups: ``stock feed``."""
    for name in of:
        if name.startswith("-"):
            continue
        below = list(commands(of[name], (*path, name)))
        yield from below
        if of[name].default_command is not None:
            yield " ".join((*path, name))


def function_of(name: str) -> Callable[..., Any]:
    """What a command runs."""
    found: Any = app
    for word in name.split():
        found = found[word]
    assert found.default_command is not None, name
    run: Callable[..., Any] = found.default_command
    return run


def takes_key(name: str) -> bool:
    return "key" in inspect.signature(function_of(name)).parameters


class Terminal:
    """Types commands into this very process, as ``python -m ordino`` does, and remembers which."""

    def __init__(self, url: str, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.ran: set[str] = set()
        self.errors = ""
        self._known = set(commands())
        patch.setenv("ORDINO_DATABASE_URL", url)
        for module in (commands_module, terminal):
            patch.setattr(module.console, "width", 250)  # tables are shown whole

    def __call__(self, *words: object, body: object = None, status: int = 0) -> str:
        said = [str(word) for word in words]
        self.ran |= self._names(said)
        return self._run(said, body, status)

    def _names(self, said: list[str]) -> set[str]:
        return {" ".join(said[:n]) for n in (1, 2)} & self._known

    def _run(self, said: list[str], body: object, status: int) -> str:
        self.patch.setattr(sys, "argv", ["ordino", *said])
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent)))
        written, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()

        def run() -> int:
            try:
                main()
            except SystemExit as ended:
                return int(ended.code or 0)
            return 0

        with redirect_stdout(written), redirect_stderr(errors):
            ended = run()
        written.seek(0)
        answered, self.errors = written.read(), errors.getvalue()
        assert ended == status, f"{said}: {answered}{self.errors}"
        return answered


class RepeatingTerminal(Terminal):
    """Each command that takes a key gets one, and is given again with it: nothing is changed any more, and it says what it said."""

    def __init__(self, url: str, patch: pytest.MonkeyPatch, on: On) -> None:
        super().__init__(url, patch)
        self.on = on
        self.repeated: set[str] = set()

    def __call__(self, *words: object, body: object = None, status: int = 0) -> str:
        said = [str(word) for word in words]
        keyed = {name for name in self._names(said) if takes_key(name)} if status == 0 else set()
        if not keyed or "--key" in said or said[0] == "call":  # it takes keys where its operation does
            return super().__call__(*said, body=body, status=status)
        said += ["--key", uuid4().hex]
        written, after = super().__call__(*said, body=body), self.on(state)
        again = super().__call__(*said, body=body)
        assert self.on(state) == after, said
        assert again == written or keyed == {"keys make"}, (again, written)
        self.repeated |= keyed
        return written


@pytest.fixture
def on(database_url: str) -> On:
    """Runs one step on the database, under the active flow."""

    def run(step: Callable[[Database], Coroutine[Any, Any, Any]]) -> Any:
        async def opened() -> Any:
            async with await Database.open(database_url, plans=flow_plans()) as database:
                return await step(database)

        return finish(opened())

    return run


@pytest.fixture
def world(database_url: str, on: On) -> World:
    finish(prepare(database_url))
    found: World = on(lambda database: small_world(database, prefix="every-", skus=2, locations=2, stock=50))
    return found


@pytest.fixture
def ordino(database_url: str, monkeypatch: pytest.MonkeyPatch, on: On) -> Iterator[RepeatingTerminal]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield RepeatingTerminal(database_url, monkeypatch, on)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def of_the_machine(ordino: Terminal, world: World, tmp_path: Path) -> None:
    ordino("migrate")
    key_id = ordino("keys", "make", "till", "--scope", "admin").split()[1].rstrip(".")
    assert key_id in ordino("keys", "list")
    listed = json.loads(ordino("keys", "list", "--json"))
    assert [(key["name"], key["roles"]) for key in listed if key["key_id"] == key_id] == [("till", ["admin"])]
    ordino("keys", "revoke", key_id)
    ordino("keys", "revoke", key_id, status=1)
    of_narrowed_keys(ordino, world)
    assert {"send", "capture"} <= {one["kind"] for one in json.loads(ordino("effects", "--json"))["effects"]}
    adapters = json.loads(ordino("adapters", "--json"))
    assert {("payment_provider", "manual", "ordino"), ("carrier", "manual", "ordino")} <= {
        (one["kind"], one["name"], one["package"]) for one in adapters if one["ready"]
    }
    assert "Set ORDINO_CHANNEL_DIRECTORY to a folder." in ordino("adapters")
    flow = tmp_path / "flow.yaml"
    flow.write_text(packaged())
    assert "reactions to" in ordino("flows", "validate", flow)


def of_narrowed_keys(ordino: Terminal, world: World) -> None:
    scope = ("--seller", world.seller, "--location", world.location)
    ordino("keys", "make", "shelf", "--permission", "stock.write", *scope, "--expires", "2099-01-01")
    [shelf] = [key for key in json.loads(ordino("keys", "list", "--json")) if key["name"] == "shelf"]
    assert (shelf["roles"], shelf["permissions"]) == ([], ["stock.write"])
    assert (shelf["sellers"], shelf["locations"]) == ([world.seller], [world.location])
    assert shelf["expires_at"] == "2099-01-01T00:00:00Z"
    assert f"sellers {world.seller}; locations {world.location}" in ordino("keys", "list")
    ordino("keys", "make", "nobody's", "--seller", "nobody", status=1)
    ordino("keys", "make", "late", "--expires", "2020-01-01", status=1)
    ordino("keys", "make", "unclear", "--permission", "everything", status=1)
    assert "stock.write" in ordino("keys", "permissions")
    told = json.loads(ordino("keys", "permissions", "--json"))
    assert [one["roles"] for one in told if one["permission"] == "keys.manage"] == [["admin"]]


def of_stock(ordino: Terminal, world: World, tmp_path: Path) -> None:
    sku, here, there = world.sku, *world.locations
    assert sku in ordino("stock", "available", sku, "--channel", world.channel)
    counts = tmp_path / "counts-1.csv"
    counts.write_text(f"sku,location,on_hand\n{sku},{here},60\n")
    assert "counts-1.csv" in ordino("stock", "feed", counts)
    receipts = tmp_path / "receipts-2.csv"
    receipts.write_bytes(f"sku;location;quantity;reason\n{sku};{here};1;Nachzügler\n".encode("windows-1252"))
    ordino("stock", "feed", receipts, status=1)
    ordino("stock", "feed", receipts, "--charset", "utf-7", status=1)
    assert "1 applied" in ordino("stock", "feed", receipts, "--charset", "windows-1252")
    assert "Nachzügler" in ordino("stock", "moves", sku, "--location", here)
    folder = tmp_path / "folder"
    (folder / "incoming").mkdir(parents=True)
    (folder / "incoming" / "receipts-1.csv").write_text(f"sku,location,quantity,reason\n{sku},{there},5,delivery\n")
    assert "1 files were taken in" in ordino("stock", "watch", folder, "--once")
    assert "receipts-1.csv" in ordino("stock", "feeds")
    ordino("stock", "apply", "low_stock_levels", body={"code": f"low {sku}", "sku": sku, "units": 10_000})
    assert "since" in ordino("stock", "scarce")
    assert sku in ordino("stock", "show", sku)
    assert here in ordino("stock", "history", sku, "--at", datetime.now(UTC).isoformat())
    assert "delivery" in ordino("stock", "moves", sku, "--location", there)
    line = {"sku": sku, "quantity": 2}
    ordino("stock", "apply", "transfers", body={"origin": here, "destination": there, "lines": [line]})
    assert "requested" in ordino("stock", "transfers")
    ordino("stock", "detail", sku)
    ordino("stock", "shortfalls")
    ordino("stock", "erase-shortfall-note", uuid4(), status=1)
    ordino("stock", "apply", "count_plans", body={"code": f"plan {sku}", "location": here})
    ordino("stock", "sheet", f"plan {sku}", "--sku", sku)
    assert f"plan {sku}" in ordino("stock", "sheets", "--location", here)
    ordino("stock", "future", sku, "--channel", world.channel)
    [held] = json.loads(ordino("stock", "apply", "holds", body={"channel": world.channel, "lines": [line]}))
    assert "open" in ordino("stock", "holds", held["hold_id"])
    assert "are free" in ordino("stock", "release", held["hold_id"])
    of_shortfalls(ordino, world)


def of_shortfalls(ordino: Terminal, world: World) -> None:
    """Units that a cart holds are not there when somebody counts."""
    sku, location = world.skus[-1], world.location
    ordino("stock", "apply", "receipts", body={"sku": sku, "location": location, "quantity": 2})
    ordino("stock", "apply", "holds", body={"channel": world.channel, "lines": [{"sku": sku, "quantity": 2}]})
    for there in world.locations:
        ordino("stock", "apply", "counts", body={"sku": sku, "location": there, "on_hand": 0})
    [short, *_] = [one for one in json.loads(ordino("stock", "shortfalls", "--json")) if one["sku"] == sku]
    said = json.dumps({"reason": "found", "note": "Behind the door."})
    ordino("call", "shortfalls.close", f"shortfall_id={short['shortfall_id']}", "--data", said)
    assert "The note is erased." in ordino("stock", "erase-shortfall-note", short["shortfall_id"])


def of_sourcing(ordino: Terminal, on: On, world: World, tmp_path: Path) -> None:
    profile = tmp_path / "far.yaml"
    profile.write_text(
        f"name: far\nfor: {{channels: [{world.channel}]}}\nstrategies:\n  - name: s\n    ranked: [{{location: [{world.locations[1]}]}}]\n"
    )
    ordino("sourcing", "validate", profile)
    ordino("sourcing", "schema")
    ordino("sourcing", "draft", profile)
    version = json.loads(ordino("sourcing", "list", "--json"))[0]["version"]
    assert "far" in ordino("sourcing", "show", version)
    ordino("sourcing", "shadow", version)
    order_id = on(lambda database: placed(database, world.order("explained"), datetime.now(UTC)))
    on(lambda database: Worker(database).run_until_idle())  # shadows are judged after the placement
    assert "1 order" in ordino("sourcing", "report", version)
    ordino("sourcing", "shadow", version, "--off")
    assert world.locations[0] in ordino("sourcing", "why", order_id)
    where = (world.channel, "US", "43215", world.sku)
    ordino("sourcing", "preview", *where)
    ordino("sourcing", "promise", *where)
    days = [(datetime.now(UTC) + timedelta(days=n)).date() for n in (-1, 1)]
    ordino("sourcing", "replay", "--profile", profile, "--from", days[0], "--to", days[1])
    ordino("sourcing", "activate", version)
    ordino("sourcing", "reevaluate")
    ordino("sourcing", "reevaluations")
    refused, _ = on(lambda database: released(database, world.order("refused"), datetime.now(UTC)))
    location = ordino("sourcing", "why", refused).split("from ")[1].split()[0].rstrip(".,:")
    ordino("sourcing", "reject", refused, location)
    ordino("sourcing", "outlook")
    ordino("sourcing", "capacity")
    ordino("sourcing", "exceptions")
    ordino("sourcing", "resolve", uuid4(), "cancel", status=1)  # its success has a test of its own
    ordino("sourcing", "retire", "far")


def of_orders(ordino: Terminal, on: On, world: World) -> None:
    order_id, _ = on(lambda database: delivered(database, world.order("came back", 3), THEN))
    ordino("orders", "refund", order_id, "--reason", "late", "--goodwill", 50)
    assert "late" in ordino("orders", "refunds", order_id)
    ordino("orders", "refund", order_id, "--reason", "late", "--goodwill", 1, "--note", "rang twice")
    assert "rang twice" in ordino("orders", "notes", order_id)
    assert "Erased: 1 note." in ordino("orders", "erase-notes", order_id)
    for last in ("receive-return", "cancel-return"):
        ordino("orders", "return", order_id, "1=1", "--reason", "changed_mind")
        found = json.loads(ordino("orders", "returns", order_id, "--json"))["returns"]
        return_id = max(one["return_id"] for one in found)  # the newest
        ordino(
            "orders", last, order_id, return_id, *(("--all",) if last == "cancel-return" else ("--restocked", "1=1"))
        )
    sent_id, [sent] = on(lambda database: shipped(database, world.order("goes back", 1), THEN))
    event = TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.RETURNED_TO_SENDER, at=THEN)
    on(lambda database: in_one(database, take_events, [event], THEN))
    assert "returning" in ordino("orders", "parcels", sent_id)
    ordino("orders", "receive-parcel", sent_id, sent.shipment_id, "--all", "--then", "refund")
    late_id, _ = on(lambda database: shipped(database, world.order("late", 1), THEN))
    ordino("orders", "tell-date", late_id, (datetime.now(UTC) + timedelta(days=9)).isoformat())
    assert "refunds" in ordino("orders", "apply", "list")
    ordino("kpis", "show")
    ordino("kpis", "orders", "perfect_order_rate")


def of_events(ordino: Terminal, on: On) -> None:
    while on(sequence):
        pass
    kinds = {one["kind"]: one for one in json.loads(ordino("events", "kinds", "--json"))}
    assert kinds["order_placed"]["schema"]["$defs"]["OrderPlaced"]["required"] == ["channel", "total_minor"]
    assert "payment_captured" in ordino("events", "kinds")
    told = ordino("events", "follow", "--kind", "order_placed", "--after", "beginning", "--once", "--json")
    events = [json.loads(line) for line in told.splitlines()]
    assert {event["kind"] for event in events} == {"order_placed"}
    assert events[1]["subject_id"] in ordino("events", "follow", "--after", events[0]["cursor"], "--once")
    ordino("events", "follow", "--kind", "order_plcaed", "--once", status=1)
    ordino("events", "follow", "--after", "garbage", "--once", status=1)
    ordino("events", "subscribe", "lake", "--kind", "order_placed")
    page = json.loads(ordino("events", "read", "lake", "--most", 1, "--json"))
    assert [event["id"] for event in page["events"]] == [events[0]["id"]]
    assert page["next"] in ordino("events", "read", "lake", "--most", 1)
    assert "lake is" in ordino("events", "acknowledge", "lake", page["next"])
    [one] = json.loads(ordino("events", "subscriptions", "--json"))
    assert (one["name"], one["kinds"], one["cursor"]) == ("lake", ["order_placed"], page["next"])
    assert "a program" in ordino("events", "subscriptions")
    assert "Nobody follows as lake" in ordino("events", "unsubscribe", "lake")
    ordino("events", "unsubscribe", "lake", status=1)


def of_dead_letters(ordino: Terminal, on: On) -> None:
    now = datetime.now(UTC)
    letter_id = new_id(now)
    dead = (
        "INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at)"
        " VALUES (0, $1, 'allocate', $1, $1, $2, '{}', 12, 'It failed.', $2)"
    )
    on(lambda database: database.pool.execute(dead, letter_id, now))
    assert str(letter_id) in ordino("dead-letters", "list")
    [letter] = json.loads(ordino("dead-letters", "list", "--json"))
    assert (letter["id"], letter["subject_id"], letter["attempts"]) == (str(letter_id), str(letter_id), 12)
    assert letter["what_happened"] is None
    assert "is due now" in ordino("dead-letters", "replay", letter_id)


def of_effects(ordino: Terminal, on: On) -> None:
    server, now = "mail server x:25", datetime.now(UTC)
    on(lambda database: database.transact(lambda tx: pause(tx, server, "It is away.", at=now, tried=False)))
    shown = ordino("effects")
    assert all(word in shown for word in ("capture", server, "It is away."))
    [paused] = json.loads(ordino("effects", "--json"))["paused_accounts"]
    assert (paused["account"], paused["failures"]) == (server, 1)
    assert f"The {server} is tried by the next call." in ordino("effects", "resume", server)
    ordino("effects", "resume", "nobody", status=1)


def of_calls(ordino: Terminal, world: World) -> None:
    assert {"orders.place", "skus.upsert"} <= {one["name"] for one in json.loads(ordino("call", "--json"))}
    assert "POST /v1/orders" in ordino("call")
    assert "NAME=VALUE" in ordino("call", "--help")
    assert json.loads(ordino("call", "skus.get", f"code={world.sku}"))["code"] == world.sku
    ordino("call", "skus.get", "code=nothing", status=1)
    ordino("call", "skus.got", status=2)
    assert "lines[].sku" in ordino("call", "describe", "orders.place")
    assert (
        "ship_to"
        in json.loads(ordino("call", "describe", "orders.place", "--json"))["body_schema"]["anyOf"][0]["properties"]
    )


def of_jobs(ordino: Terminal, on: On, world: World, tmp_path: Path) -> None:
    names = [one["kind"] for one in json.loads(ordino("jobs", "kinds", "--json"))]
    assert {"cancel_orders", "export_orders", "import_orders", "replay_profile", "release_orders"} <= set(names)
    order_id = on(lambda database: placed(database, world.order("by a job"), datetime.now(UTC)))
    orders = f'orders=[{{"order_id": "{order_id}"}}, {{"channel": "{world.channel}", "external_id": "nobody"}}]'
    begun = json.loads(ordino("jobs", "start", "cancel_orders", orders, "reason=fraud", "--json"))
    assert (begun["state"], begun["total"], begun["started_by"]) == ("queued", 2, "ordino jobs")
    ordino("jobs", "start", "cancel_orders", "reason", status=1)
    ordino("jobs", "start", "dance", status=1)
    later = json.loads(
        ordino(
            "jobs",
            "start",
            "release_orders",
            "--delay-seconds",
            300,
            "--body",
            "-",
            "--json",
            body={"orders": [{"order_id": str(order_id)}]},
        )
    )
    assert "is cancelled" in ordino("jobs", "revoke", later["job_id"])
    rows = tmp_path / "orders.ndjson"
    rows.write_bytes(b"\n".join(msgspec.json.encode(world.order(f"of a file {n}")) for n in range(3)))
    imported = json.loads(ordino("jobs", "start", "import_orders", "--rows", rows, "--json"))
    assert "is being cancelled" not in ordino("jobs", "show", begun["job_id"])
    stopped = json.loads(
        ordino("jobs", "start", "export_orders", "since=2026-01-01T00:00:00Z", "until=2027-01-01T00:00:00Z", "--json")
    )
    assert "is cancelled" in ordino("jobs", "cancel", stopped["job_id"])
    on(lambda database: Worker(database).jobs.run_until_idle())
    assert "is done: 2 of 2 done, 1 of them refused" in ordino("jobs", "show", begun["job_id"])
    assert "unknown_order" in ordino("jobs", "rows", begun["job_id"], "--outcome", "refused")
    assert [one["job_id"] for one in json.loads(ordino("jobs", "list", "--kind", "import_orders", "--json"))] == [
        imported["job_id"]
    ]
    file = tmp_path / "result.ndjson"
    ordino("jobs", "result", imported["job_id"], "--to", file)
    assert len(file.read_text().splitlines()) == 3
    assert ordino("jobs", "result", imported["job_id"]) == file.read_text()
    on(lambda database: Worker(database).run_duties())
    assert "expire_holds" in ordino("schedule")
    assert {"reevaluate", "forget_jobs"} <= {one["name"] for one in json.loads(ordino("schedule", "--json"))}


def test_every_command_that_shows_a_table_can_answer_with_json() -> None:
    shown = 0
    for name in commands():
        run = function_of(name)
        if re.search(r"\b(Table|show|render)\(", inspect.getsource(run)):
            assert "json" in inspect.signature(run).parameters, name
            shown += 1
    assert shown > 25


def test_every_command_that_changes_something_takes_a_key() -> None:
    """Only ``terminal.change`` begins transactions that are committed, and it wants to know the key."""
    begin = [
        path.name
        for path in Path(commands_module.__file__).parent.glob("*.py")
        if re.search(r"\.transact\(", path.read_text(encoding="utf-8"))
    ]
    assert begin == ["running.py"], "it activates the packaged flow after the migrations"
    assert sum(map(takes_key, commands())) > 25


def test_a_command_with_the_key_of_another_is_refused(ordino: Terminal, world: World) -> None:
    receipt = {"sku": world.sku, "location": world.location, "quantity": 1}
    key = uuid4().hex
    ordino("stock", "apply", "receipts", "--key", key, body=receipt, status=0)
    ordino("stock", "apply", "receipts", "--key", key, body=receipt | {"quantity": 2}, status=1)
    ordino("stock", "apply", "set_asides", "--key", key, body=receipt | {"condition": "damaged"}, status=1)
    ordino("sourcing", "outlook", "--key", key, status=1)
    ordino("sourcing", "outlook", "--key", "", status=1)
    ordino("sourcing", "outlook", "--key", "k" * 201, status=1)


def test_every_command_runs(ordino: Terminal, on: On, world: World, tmp_path: Path) -> None:
    of_the_machine(ordino, world, tmp_path)
    of_stock(ordino, world, tmp_path)
    of_sourcing(ordino, on, world, tmp_path)
    of_orders(ordino, on, world)
    of_events(ordino, on)
    of_dead_letters(ordino, on)
    of_effects(ordino, on)
    of_calls(ordino, world)
    of_jobs(ordino, on, world, tmp_path)
    assert "holds" in ordino("verify")
    assert ordino.ran | set(ELSEWHERE) == set(commands())
    elsewhere = {"sourcing resolve", "call"}  # repeated in tests of their own
    assert ordino.repeated == {name for name in commands() if takes_key(name)} - elsewhere


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_runs_elsewhere_has_a_test_there(name: str) -> None:
    file, test = ELSEWHERE[name].split("::")
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    assert f"def {test}(" in text
    assert f'"{name}"' in text
