"""The commands as an operator meets them: what is expected to fail ends with a sentence, not with a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from conftest import database_at

ordino = [sys.executable, "-m", "ordino"]


def told(*words: str, **environment: str) -> tuple[int, str]:
    """The exit status of a command, and what it said."""
    done = subprocess.run(
        [*ordino, *words], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


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


def test_a_stranger_is_not_let_in_without_a_key(cluster_url: str, database_url: str) -> None:
    for words in (["up"], ["serve"]):
        status, said = told(*words, ORDINO_DATABASE_URL=database_url, ORDINO_HOST="0.0.0.0", ORDINO_PORT="18499")
        assert (status, "ordino keys make" in said) == (1, True), said


def test_a_flow_is_checked_without_a_database(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text("name: x\nevents:\n  order_placed: [nonsense]\n")
    status, said = told("flows", "validate", str(flow))
    assert (status, f"{flow}: Line 3" in said) == (1, True)
    flow.write_bytes(b"\xff\xfe")
    assert told("flows", "validate", str(flow))[0] == 1
    assert told("flows", "validate", str(tmp_path / "none"))[0] == 1


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return True
        except OSError:
            time.sleep(0.1)
    return False


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_up_starts_everything_keeps_its_port_and_stops_in_order(
    database_url: str, listening: int, end: signal.Signals
) -> None:
    environment = os.environ | {"ORDINO_DATABASE_URL": database_url, "ORDINO_PORT": str(listening)}
    process = subprocess.Popen([*ordino, "up"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert _is_ready(process, listening), "`ordino up` ended, or its server never answered"
        status, said = told("serve", ORDINO_DATABASE_URL=database_url, ORDINO_PORT=str(listening))
        assert (status, "ORDINO_PORT" in said) == (1, True), said
        process.send_signal(end)
        assert process.wait(60) in (0, 128 + end)  # a part that does not stop in 40 s is killed
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"http://127.0.0.1:{listening}/health", timeout=1)
    finally:
        process.kill()
        process.wait()
