"""The server's processes: those of an earlier run are found and ended, and so is one's own."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from ordino.core.embedded.errors import StartFailed

STOP_SECONDS = 60.0


def stop_leftovers(cluster: Path) -> None:
    """End what a killed run left behind, and the file that would keep a new server from starting."""
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    first = pid_file.read_text().partition("\n")[0].strip()
    running = _processes_in(cluster)
    end(next((process for process in running if str(process.pid) == first), None))
    # Without its parent a backend ends by itself, but not before its statement does.
    alive = _processes_in(cluster)
    # Without a postmaster nothing else can tell one that hangs; killed, it leaves what recovery mends.
    for number, seconds in ((signal.SIGQUIT, 2), (signal.SIGKILL, 10)):
        for process in alive:
            _signal(process, number)
        _, alive = psutil.wait_procs(alive, timeout=seconds)
    if alive:
        raise StartFailed(f"PostgreSQL processes of an earlier run do not end: {', '.join(str(p.pid) for p in alive)}.")
    # Its process is gone for sure; the number may belong to something else by now.
    pid_file.unlink(missing_ok=True)


def _processes_in(cluster: Path) -> list[psutil.Process]:
    """The PostgreSQL processes that run on this cluster: a server's working directory is its cluster."""
    place = str(cluster.resolve())
    return [
        process
        for process in psutil.process_iter(["name", "cwd", "status"])
        if process.info["name"] == "postgres"
        and process.info["cwd"] == place
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def end(server: psutil.Process | None) -> None:
    """Fast shutdown; if that takes too long, an immediate one, from which the next start recovers."""
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if server is None or not server.is_running():
            return
        _signal(server, number)
        try:
            server.wait(seconds)
            return
        except psutil.TimeoutExpired:
            continue


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
