"""A server process that ends is replaced; one that cannot run is given up with a sentence."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from ordino.cli.bench.world import free_port

BROKEN = dedent("""
    import os, sys
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from ordino.api.processes import Processes, ProcessGivenUp
    from ordino.core import patience

    patience.TRIES = 3
    mother = os.getpid()

    def application():
        if os.getpid() == mother:
            return None
        print("begun", flush=True)
        os._exit(int(sys.argv[2]))

    try:
        Processes("none", port=int(sys.argv[1]), interface=Interfaces.ASGI, log_level=LogLevels.warning).run(application)
    except ProcessGivenUp as error:
        print(error)
""")


def test_a_process_that_cannot_run_is_given_up_with_a_sentence() -> None:
    command = [sys.executable, "-c", BROKEN, str(free_port()), "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    said = done.stdout.splitlines()
    assert said.count("begun") == 4
    assert "ended 4 times in a row, the last time with status 3" in said[-1]


RUNG = dedent("""
    import signal, sys, threading, time
    from ordino.api.processes import Bell

    bell, rung = {"Bell": Bell, "Event": threading.Event}[sys.argv[1]](), 0

    def ring(*_):
        global rung
        rung += 1
        bell.set()

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    while rung < 20_000:
        bell.wait(1)
        bell.clear()
    signal.setitimer(signal.ITIMER_REAL, 0)
    bell.wait(0)
    print("answered")
""")


@pytest.mark.parametrize(("kind", "answers"), [("Bell", True), ("Event", False)])
def test_a_server_that_is_told_to_stop_just_when_it_begins_to_wait_stops(kind: str, answers: bool) -> None:
    """The negative control waits for itself while it is told again and again, until it has no room left."""
    done = subprocess.run([sys.executable, "-c", RUNG, kind], capture_output=True, text=True, timeout=600, check=False)
    assert ("answered" in done.stdout) is answers, done.stderr


def test_a_process_that_waits_for_something_else_is_never_given_up() -> None:
    command = [sys.executable, "-c", BROKEN, str(free_port()), "75"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            begun = 0
            while begun < 6 and (line := server.stdout.readline()):
                begun += line == b"begun\n"
            assert begun == 6
        finally:
            server.terminate()
        assert server.wait(600) == 0


@pytest.mark.parametrize("address", ["http://[::1]:8000", "http://127.0.0.1:8000"])
def test_the_address_is_one_that_this_machine_reaches(address: str) -> None:
    from ordino.api.server import address_of
    from ordino.core.settings import Settings

    hosts = ("::", "::1") if "[" in address else ("0.0.0.0", "127.0.0.1")
    assert {address_of(Settings(host=host)) for host in hosts} == {address}
