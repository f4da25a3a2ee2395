"""The processes that `ordino up` runs beside PostgreSQL: started, looked after, and ended together."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from ordino.core.errors import OrdinoError
from ordino.core.lifeline import VARIABLE, Lifeline
from ordino.core.patience import TRY_LATER, Patience
from ordino.core.ready import READY_VARIABLE

log = logging.getLogger("ordino.up")
STOP_SECONDS = 40.0
"""A server takes up to 30 seconds to answer what it has begun."""


class PartGivenUp(OrdinoError):
    """A part cannot be kept running; the message says what to do."""

    def __init__(self, name: str, status: int, ends: int) -> None:
        super().__init__(
            f"`ordino {name}` ended {ends} times in a row, the last time {_how(status)}. "
            "What it said stands above. Mend that, and start Ordino again."
        )


class Part:
    """One `ordino` command as a process of its own. If it ends, it is started again.

    What it started itself may outlive it: the processes of a server go on answering until a new server can.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._environment = environment
        self._patience = Patience()
        self._due_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: Lifeline | None = None
        self._ready: int | None = None
        self._left: list[Lifeline] = []

    def start(self) -> None:
        """Start the process."""
        self._patience.start()
        self._due_at = None
        self._lifeline = lifeline = Lifeline()
        self._ready, told = os.pipe()
        os.set_blocking(self._ready, False)
        ends = {VARIABLE: str(lifeline.reader), READY_VARIABLE: str(told)}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ordino", self.name],
                env={**self._environment, **ends},
                # Ctrl-C goes to the command, which then stops its parts in order.
                start_new_session=True,
                pass_fds=(lifeline.reader, told),
            )
        finally:
            lifeline.keep()
            os.close(told)

    def tend(self) -> None:
        """Start it again if it has ended and its time has come. Raises ``PartGivenUp``."""
        if self._due_at is not None:
            if time.monotonic() >= self._due_at:
                self.start()
        elif self._process is not None and (status := self._process.poll()) is not None:
            self._ended(status)
        elif self._ready is not None and _is_told(self._ready):
            self._forget_ready()
            self._cut_left()

    def _ended(self, status: int) -> None:
        self._process = None
        self._forget_ready()
        seconds = self._patience.end(passing=status == TRY_LATER)
        if seconds is None:
            raise PartGivenUp(self.name, status, self._patience.ends)
        log.error("`ordino %s` ended %s; it is started again.", self.name, _how(status))
        if self._lifeline is not None:
            self._left.append(self._lifeline)
            self._lifeline = None
        self._due_at = time.monotonic() + seconds

    def _forget_ready(self) -> None:
        if self._ready is not None:
            os.close(self._ready)
            self._ready = None

    def _cut_left(self) -> None:
        for lifeline in self._left:
            lifeline.cut()
        self._left.clear()

    def tell_to_stop(self) -> None:
        """Begin to end it, and what it left behind."""
        self._cut_left()
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until it has ended; it is killed if that takes too long."""
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lifeline is not None:
            self._lifeline.cut()
            self._lifeline = None
        self._forget_ready()


class Parts:
    """Parts that run as long as the ``with`` block lasts."""

    def __init__(self, names: Sequence[str], environment: Mapping[str, str]) -> None:
        self._parts = [Part(name, environment) for name in names]

    def __enter__(self) -> Parts:
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)
            for part in self._parts:
                part.start()
            stack.pop_all()
        return self

    def tend(self) -> None:
        """Start again what has ended. Raises ``PartGivenUp``."""
        for part in self._parts:
            part.tend()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self._parts:
            part.tell_to_stop()
        for part in self._parts:
            part.stop()


def _is_told(reader: int) -> bool:
    try:
        return os.read(reader, 1) != b""
    except BlockingIOError:
        return False


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"
