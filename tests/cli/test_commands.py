"""The commands as an operator meets them: what is expected to fail ends with a sentence, not with a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from conftest import database_at, new_database
from ordino.cli import running as commands_running
from ordino.cli.commands import app
from ordino.cli.parts import Part, PartGivenUp, Parts
from ordino.core import patience
from ordino.core.embedded import EmbeddedPostgres, Holder, holder_of
from ordino.core.errors import OrdinoError
from ordino.core.migrations import TURN, is_under_way, migrate, pending_on
from ordino.core.settings import Settings
from processes import answers, children, running, told


@pytest.fixture
def listening() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_command_on_an_empty_database_says_what_to_do(cluster_url: str) -> None:
    for words in (["verify"], ["keys", "list"], ["dead-letters", "list"], ["work"], ["serve"]):
        status, said = told(*words, ORDINO_DATABASE_URL=cluster_url)
        assert (status, "ordino migrate" in said) == (1, True), said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORDINO_TRUSTED_PROXIES", "nobody"),
        ("ORDINO_SMTP_SENDER", "a@b.example,eve@x.example"),
        ("ORDINO_SMTP_URL", "smtp://localhost:99999"),
    ],
)
@pytest.mark.parametrize("word", ["up", "serve", "demo"])
def test_a_setting_that_only_a_part_reads_is_refused_before_the_part_is_started(
    word: str, variable: str, value: str, tmp_path: Path
) -> None:
    environment = {
        "ORDINO_SMTP_URL": "smtp://localhost:1",
        "ORDINO_DATA_DIRECTORY": str(tmp_path / "new"),
        variable: value,
    }
    status, said = told(word, **environment)
    assert (status, said.count("\n"), f"ordino: {variable}=" in said) == (1, 1, True), said
    assert not (tmp_path / "new").exists()


def test_other_commands_are_told_of_a_server_once_its_database_is_migrated(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[Holder | None] = []

    async def prepare(url: str) -> None:
        meanwhile.append(holder_of(directory))

    monkeypatch.setattr(commands_running, "prepare", prepare)
    with commands_running.database_url(Settings(data_directory=directory), prepared=True) as url:
        [during], after = meanwhile, holder_of(directory)
        assert during is not None
        assert after is not None
        assert (during.pid, during.url) == (os.getpid(), None)
        assert (after.pid, after.url) == (os.getpid(), url)


def opening(url: str, asked: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> asyncio.Task[bool]:
    """A command that opens the database: whether it lacks migrations then. ``asked`` is set once it has looked."""

    async def look(connection: Any) -> bool:
        found = await is_under_way(connection)
        asked.set()
        return found

    async def run() -> bool:
        async with commands_running.opened(Settings(database_url=url), url) as database:
            return await database.read(pending_on)

    monkeypatch.setattr(commands_running, "is_under_way", look)
    return asyncio.create_task(run())


async def test_a_command_waits_while_another_one_migrates(
    cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_running, "BEGIN_SECONDS", 0)
    async with new_database(cluster) as url:
        first, asked = await asyncpg.connect(url), asyncio.Event()
        await first.execute(f"SELECT pg_advisory_lock({TURN})")
        migrating = asyncio.create_task(migrate(url))
        async with asyncio.timeout(60):
            while not await first.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                pass
            opened = opening(url, asked, monkeypatch)
            await asked.wait()
            assert not opened.done()
            await first.close()
            assert await opened is False
        await migrating


async def test_a_command_waits_for_another_one_that_is_about_to_migrate(
    cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_running, "BEGIN_SECONDS", 60)
    async with new_database(cluster) as url:
        asked = asyncio.Event()
        opened = opening(url, asked, monkeypatch)
        async with asyncio.timeout(60):
            await asked.wait()
            await migrate(url)
            assert await opened is False


async def test_a_command_does_not_wait_for_a_migration_of_another_database(
    cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_running, "BEGIN_SECONDS", 0)
    async with new_database(cluster) as url, new_database(cluster) as other:
        elsewhere = await asyncpg.connect(other)
        await elsewhere.execute(f"SELECT pg_advisory_lock({TURN})")
        with pytest.raises(OrdinoError, match="lacks migrations; run `ordino migrate`"):
            await opening(url, asyncio.Event(), monkeypatch)
        await elsewhere.close()


EVERY_COMMAND = (
    ["migrate"],
    ["verify"],
    ["up"],
    ["serve"],
    ["work"],
    ["keys", "list"],
    ["dead-letters", "list"],
    ["stock", "feeds"],
    ["kpis", "show"],
    ["demo", "--exit"],
    ["bench", "place"],
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://localhost:port/shop", "cannot be read"),
        ("postgresql://me:se#cret@localhost/shop", "cannot be read"),
        ("postgresql://localhost/shop?sslmode=perhaps", "cannot be read"),
        ("postgresql://nobody.invalid/shop", "There is no host of the database's name"),
        ("postgresql://127.0.0.1:1/shop", "Nothing listens at the host and port"),
        ("postgresql:///shop?host=/nowhere", "There is no socket of PostgreSQL"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_in_a_sentence(url: str, expected: str) -> None:
    status, said = told("verify", ORDINO_DATABASE_URL=url)
    assert (status, expected in said) == (1, True), said
    assert "cret" not in said


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_every_command_tells_a_bad_url_in_one_sentence(words: list[str]) -> None:
    status, said = told(*words, ORDINO_DATABASE_URL="postgresql://localhost:port/shop")
    assert (status, said.startswith("ordino: ")) == (1, True), said
    assert "cannot be read" in said


def test_an_absent_database_is_told_by_name_of_the_setting(cluster_url: str) -> None:
    status, said = told("verify", ORDINO_DATABASE_URL=database_at(cluster_url, "absent"))
    assert (status, "There is no database of this name" in said) == (1, True), said


def test_a_bad_variable_of_postgresql_is_told_in_a_sentence() -> None:
    status, said = told("verify", ORDINO_DATABASE_URL="postgresql:///shop", PGPORT="five")
    assert (status, "PG* variables" in said) == (1, True), said


@pytest.fixture
def cluster_url(cluster: object) -> str:
    url: str = cluster.url  # type: ignore[attr-defined]
    return url


def test_a_key_is_made_listed_and_revoked(database_url: str) -> None:
    status, said = told("keys", "make", "till", "--scope", "read", ORDINO_DATABASE_URL=database_url)
    assert status == 0
    key_id, token = said.split()[1].rstrip("."), said.split()[-1]
    status, said = told("keys", "list", ORDINO_DATABASE_URL=database_url, COLUMNS="80")
    assert key_id in said
    assert token not in said
    assert told("keys", "revoke", key_id, ORDINO_DATABASE_URL=database_url)[0] == 0
    assert told("keys", "revoke", key_id, ORDINO_DATABASE_URL=database_url)[0] == 1
    assert told("keys", "make", "till", "--scope", "all", ORDINO_DATABASE_URL=database_url)[0] == 1


async def test_a_stranger_is_not_let_in_without_a_key(keyless: str) -> None:
    for words in (["up"], ["serve"]):
        status, said = told(*words, ORDINO_DATABASE_URL=keyless, ORDINO_HOST="0.0.0.0", ORDINO_PORT="18499")
        assert (status, "ordino keys make" in said) == (1, True), said


def test_a_flow_is_checked_without_a_database(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text("name: x\nevents:\n  order_placed: [nonsense]\n")
    status, said = told("flows", "validate", str(flow))
    assert (status, f"{flow}: Line 3" in said) == (1, True)
    flow.write_bytes(b"\xff\xfe")
    assert told("flows", "validate", str(flow))[0] == 1
    assert told("flows", "validate", str(tmp_path / "none"))[0] == 1


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_up_starts_everything_keeps_its_port_and_stops_in_order(
    database_url: str, listening: int, output: Path, end: signal.Signals
) -> None:
    """Started as a shell starts `ordino up &`: with SIGINT ignored."""
    with running("up", output=output, port=listening, deaf=True, ORDINO_DATABASE_URL=database_url) as up:
        await up.ready()
        for word in ("serve", "up"):
            status, said = told(word, ORDINO_DATABASE_URL=database_url, ORDINO_PORT=str(listening))
            assert (status, "ORDINO_PORT" in said) == (1, True), said
        assert await up.stop(end) == 0
        assert "refused to gracefully stop" not in up.said()
        assert not answers(listening, "/health")


@pytest.mark.parametrize(
    ("word", "end"), [("serve", signal.SIGTERM), ("work", signal.SIGINT), ("serve", signal.SIGHUP)]
)
async def test_a_part_that_is_told_to_stop_while_it_starts_stops(
    database_url: str, listening: int, output: Path, word: str, end: signal.Signals
) -> None:
    """A server's processes that are only being made are told, too, and are not waited for until they are killed."""
    with running(word, output=output, port=listening, deaf=True, ORDINO_DATABASE_URL=database_url) as part:
        if word == "serve":
            await part.until("forked", lambda: children(psutil.Process(part.process.pid), "serve"))
        else:
            await part.until("connected", lambda: psutil.Process(part.process.pid).net_connections("unix"))
        assert await part.stop(end) == 0, part.said()
        assert "refused" not in part.said()


async def test_a_server_answers_what_it_has_begun_before_it_stops(keyless: str, listening: int, output: Path) -> None:
    patient = {f"ORDINO_{what}_TIMEOUT_SECONDS": "600" for what in ("LOCK", "STATEMENT", "BATCH")}
    with running("serve", output=output, port=listening, ORDINO_DATABASE_URL=keyless, **patient) as serve:
        await serve.ready()
        locking = await asyncpg.connect(keyless)
        hold = locking.transaction()
        await hold.start()
        await locking.execute("LOCK TABLE catalog.sellers")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening}", timeout=60) as client:
            await client.get("/health")  # a connection that stays open, and idle, does not keep it
            begun = asyncio.create_task(
                client.put("/v1/sellers", json={"sellers": [{"code": "slow", "name": "Slow", "currency": "EUR"}]})
            )
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            while not await locking.fetchval(waits):
                assert not begun.done(), begun.result().text
                await asyncio.sleep(0.01)
            serve.process.send_signal(signal.SIGTERM)
            await serve.until("stopped listening", lambda: not answers(listening, "/health"))
            await hold.rollback()
            assert (await begun).status_code == 200
        await locking.close()
        assert await serve.ends() == 0, serve.said()


def test_a_data_directory_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, listening: int) -> None:
    place = tmp_path / "file"
    place.write_text("")
    for word in ("up", "serve", "work", "verify", "migrate"):
        status, said = told(word, ORDINO_DATA_DIRECTORY=str(place / "data"), ORDINO_PORT=str(listening))
        assert (status, said.count("\n"), "ORDINO_DATA_DIRECTORY" in said) == (1, 1, True), said


def test_a_port_that_nobody_may_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for word in ("up", "serve"):
            status, said = told(word, ORDINO_DATA_DIRECTORY=str(tmp_path / "data"), ORDINO_PORT=port)
            assert (status, said.count("\n"), "ORDINO_PORT" in said) == (1, 1, True), said
    assert not (tmp_path / "data").exists()


async def test_a_part_that_cannot_run_ends_up_with_a_sentence(
    cluster_url: str, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a server on a database without tables."""
    monkeypatch.setattr(patience, "TRIES", 1)
    environment = os.environ | {"ORDINO_DATABASE_URL": cluster_url, "ORDINO_PORT": str(listening)}

    async def tend(parts: Parts) -> None:
        while True:
            parts.tend()
            await asyncio.sleep(0.02)

    with Parts(["serve"], environment) as parts, pytest.raises(PartGivenUp, match=r"2 times in a row.*with status 1"):
        await tend(parts)


async def test_a_part_that_waits_for_something_else_is_never_given_up(
    listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "TRIES", 1)
    nobody = f"postgresql://nobody@127.0.0.1:{listening}/none"
    ends: list[int] = []
    monkeypatch.setattr(
        Part, "_ended", lambda part, status, ended=Part._ended: (ends.append(status), ended(part, status))
    )
    with Parts(["work"], os.environ | {"ORDINO_DATABASE_URL": nobody}) as parts:
        while len(ends) < 3:
            parts.tend()
            await asyncio.sleep(0.02)
    assert set(ends) == {patience.TRY_LATER}


async def test_a_worker_says_which_effects_it_takes_and_effects_are_listed(
    database_url: str, listening: int, output: Path
) -> None:
    with running("work", output=output, port=listening, ORDINO_DATABASE_URL=database_url, ORDINO_SMTP_URL="") as work:
        await work.until("said what it takes", lambda: "It does not take `send`. Set ORDINO_SMTP_URL" in work.said())
        assert "This worker takes these effects: authorize, capture, refund, void." in work.said()
        assert await work.stop(signal.SIGTERM) == 0
    status, shown = told("work", "--effects", "authorize,capturee", ORDINO_DATABASE_URL=database_url)
    assert status == 1
    assert "--effects='authorize,capturee' does not fit: `capturee` is no effect" in shown
    assert "authorize, capture, refund, send, void" in shown
    for words in ("work", "up"):
        status, shown = told(words, ORDINO_DATABASE_URL=database_url, ORDINO_EFFECTS="pay", ORDINO_PORT=str(listening))
        assert (status, "ORDINO_EFFECTS='pay' does not fit" in shown) == (1, True)
    status, shown = told("effects", ORDINO_DATABASE_URL=database_url, COLUMNS="120")
    assert status == 0
    assert all(kind in shown for kind in ("authorize", "capture", "refund", "send", "void"))
    status, shown = told("effects", "--json", ORDINO_DATABASE_URL=database_url)
    assert (status, '"paused_accounts":[]' in shown) == (0, True)
    environment = {"ORDINO_SMTP_URL": "smtp://127.0.0.1:25", "ORDINO_SMTP_SENDER": "a@b.co, eve@x.yz"}
    status, shown = told("work", ORDINO_DATABASE_URL=database_url, **environment)
    assert (status, "ORDINO_SMTP_SENDER" in shown) == (1, True)


async def test_a_worker_takes_the_effects_that_it_is_told_to(database_url: str, listening: int, output: Path) -> None:
    with running(
        "work", "--effects", "capture", output=output, port=listening, ORDINO_DATABASE_URL=database_url
    ) as work:
        await work.until("said what it takes", lambda: "It leaves these to other workers" in work.said())
        assert "This worker takes these effects: capture." in work.said()
        assert await work.stop(signal.SIGTERM) == 0


async def test_a_worker_of_reactions_only_says_so(database_url: str, listening: int, output: Path) -> None:
    with running(
        "work", output=output, port=listening, ORDINO_DATABASE_URL=database_url, ORDINO_EFFECTS="none"
    ) as work:
        await work.until("said what it takes", lambda: "This worker takes these effects: none." in work.said())
        assert await work.stop(signal.SIGTERM) == 0


def test_limits_of_calls_that_cannot_be_read_or_are_nobody_s_are_refused(database_url: str, listening: int) -> None:
    for words in ("work", "up"):
        for said, reason in (
            ("manual=many", "'manual=many': calls side by side are a whole number of at least 1"),
            ("acme=8/20", "no payment or message provider here is named 'acme'; there are manual, smtp"),
        ):
            status, shown = told(
                words, ORDINO_DATABASE_URL=database_url, ORDINO_CALL_LIMITS=said, ORDINO_PORT=str(listening)
            )
            assert (status, reason in " ".join(shown.split())) == (1, True), shown


@pytest.mark.parametrize("number", ["-1", "0", "99999999999999999999", "many"])
@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "list", "--limit"),
        ("jobs", "rows", "01990000-0000-7000-8000-000000000001", "--limit"),
        ("dead-letters", "list", "--limit"),
        ("stock", "shortfalls", "--limit"),
        ("stock", "sheets", "--limit"),
    ],
    ids=" ".join,
)
def test_a_number_of_lines_that_cannot_be_is_refused_in_a_sentence(words: tuple[str, ...], number: str) -> None:
    with pytest.raises(SystemExit) as refused:
        app([*words, number])
    assert refused.value.code == 2  # as for everything that cannot be typed


def test_every_listing_takes_a_number_of_lines_in_the_same_way() -> None:
    for path in (Path(commands_running.__file__).parent).glob("*.py"):
        assert "limit: int" not in path.read_text(encoding="utf-8"), path.name
