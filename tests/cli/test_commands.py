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


def test_a_worker_says_which_effects_it_takes_and_effects_are_listed(database_url: str) -> None:
    process = subprocess.Popen(
        [*ordino, "work"],
        env={**os.environ, "ORDINO_DATABASE_URL": database_url, "ORDINO_SMTP_URL": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(2)]
    finally:
        process.terminate()
        process.wait(60)
    assert said == [
        "This worker takes these effects: authorize, capture, refund, void.",
        "It does not take `send`. Set ORDINO_SMTP_URL to send messages.",
    ]
    status, shown = told("effects", ORDINO_DATABASE_URL=database_url, COLUMNS="80")
    assert status == 0
    assert all(kind in shown for kind in ("authorize", "capture", "refund", "send", "void"))
    status, shown = told("effects", "--json", ORDINO_DATABASE_URL=database_url)
    assert (status, '"paused_accounts":[]' in shown) == (0, True)
    environment = {"ORDINO_SMTP_URL": "smtp://127.0.0.1:25", "ORDINO_SMTP_SENDER": "a@b.co, eve@x.yz"}
    status, shown = told("work", ORDINO_DATABASE_URL=database_url, **environment)
    assert (status, "ORDINO_SMTP_SENDER" in shown) == (1, True)
