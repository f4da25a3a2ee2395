"""`ordino` commands as processes: started, waited for, and ended with everything that they started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
ordino = [sys.executable, "-m", "ordino"]
CEILING_SECONDS = 600.0
"""No test waits for a time; this only ends one whose condition never comes true. A busy machine takes long."""


def told(*words: str, **environment: str) -> tuple[int, str]:
    """The exit status of a command that ends by itself, and what it said."""
    done = subprocess.run(
        [*ordino, *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=CEILING_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


class Running:
    """A command that lasts; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._output = output

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    async def until(self, what: str, condition: Callable[[], T | None] | Callable[[], Awaitable[T | None]]) -> T:
        """Wait for something to be true while the command lives; shows its output if it ends, or if that takes for ever."""
        deadline = time.monotonic() + CEILING_SECONDS
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            assert self.process.poll() is None, f"it ended, and never {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"it never {what}:\n{self.said()}"
            await asyncio.sleep(0.02)

    async def ready(self) -> None:
        await self.until("answered /ready", lambda: answers(self.port))

    async def ends(self) -> int:
        """Its exit status, however long it takes to end."""
        return await asyncio.to_thread(self.process.wait, CEILING_SECONDS)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.ends()


@contextmanager
def running(*words: str, output: Path, port: int = 8000, deaf: bool = False, **environment: str) -> Iterator[Running]:
    """``deaf``: started with SIGINT ignored, as a shell starts what ends in `&`. It hears SIGHUP, also where the tests run under
    `nohup`. Nothing of it outlives the block.
    """
    before, hung_up = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with output.open("ab") as file:
            process = subprocess.Popen(
                [*ordino, *words],
                env=os.environ | {"ORDINO_PORT": str(port)} | environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGHUP, hung_up)
    family = psutil.Process(process.pid)
    try:
        yield Running(process, output, port)
    finally:
        left = family.children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in left:
            if child.is_running():
                child.kill()


def answers(port: int, path: str = "/ready") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
            return True
    except OSError:
        return False


def children(process: psutil.Process, word: str) -> list[psutil.Process]:
    """What it runs, found by the last word of the command line or the name."""
    found = []
    for child in process.children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE and (child.name() == word or child.cmdline()[-1:] == [word]):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
