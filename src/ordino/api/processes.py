"""Granian's processes, looked after: one that ends is replaced, and none misses that it is told to stop."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from granian.log import logger
from granian.server.mp import MPServer

from ordino.core.errors import OrdinoError
from ordino.core.lifeline import VARIABLE, Lifeline, end_with_starter
from ordino.core.patience import TRY_LATER, Patience

_TOLD_TO_STOP = (signal.SIGINT, signal.SIGTERM)


class ProcessGivenUp(OrdinoError):
    """A server process cannot be kept running."""

    def __init__(self, ends: int, status: int | None) -> None:
        super().__init__(
            f"A server process ended {ends} times in a row, the last time with status {status}. "
            "What it said stands above. Mend that, and start Ordino again."
        )


class Bell:
    """An event that signal handlers may set. ``threading.Event`` may not be: a handler that sets it just when its own thread begins
    to wait for it waits for itself, for ever.
    """

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()  # its ``put`` may interrupt itself

    def set(self) -> None:
        """Wake who waits, or the next who will."""
        self._rings.put(None)

    def wait(self, seconds: float | None = None) -> None:
        """Until it is set, or as long as that. It stays set."""
        with suppress(queue.Empty):
            self._rings.get(timeout=seconds)
            self._rings.put(None)

    def clear(self) -> None:
        """It is not set any more."""
        with suppress(queue.Empty):
            while True:
                self._rings.get_nowait()


class Processes(MPServer):
    """Replaces Granian's own loop, which ends everything when one process ends twice within seconds."""

    def __init__(self, target: str, **options: Any) -> None:
        super().__init__(target, **options)
        self.main_loop_interrupt = Bell()  # type: ignore[assignment]
        self._patience = [Patience() for _ in range(self.workers)]
        self._due: dict[int, float] = {}
        self._given_up: ProcessGivenUp | None = None

    def run(self, application: Callable[[], Any]) -> None:
        """Serve what ``application`` returns until SIGINT or SIGTERM. Raises ``ProcessGivenUp``.

        The processes end with this one: by the lifeline it was given itself, or by one that ends with it.
        """
        application()
        if VARIABLE not in os.environ:
            lifeline = Lifeline()
            os.environ[VARIABLE] = str(lifeline.reader)
            os.register_at_fork(after_in_child=lifeline.cut)

        def load() -> Any:
            for number in _TOLD_TO_STOP:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD_TO_STOP)
            end_with_starter()
            return application()

        # A closed terminal stops the server as it stops every command, unless `nohup` says otherwise.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        hung_up = signal.SIG_IGN if ignored else self.signal_handler_interrupt
        self.on_startup(lambda: signal.signal(signal.SIGHUP, hung_up))
        try:
            self.serve(target_loader=load, wrap_loader=False)
        except SystemExit:
            # Ctrl-C reaches every process of the terminal: one that has ended by itself before it was told is no failure.
            if not self._is_over():
                raise
        if self._given_up is not None:
            raise self._given_up

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        while not self._is_over():
            self.main_loop_interrupt.wait(self._seconds_to_wait())
            self.main_loop_interrupt.clear()
            while self.interrupt_children:
                self._ended(self.interrupt_children.pop())
            if self._is_over():
                return
            for index in [index for index, at in self._due.items() if at <= time.monotonic()]:
                del self._due[index]
                self._patience[index].start()
                self._respawn_workers([index], spawn_target, target_loader)

    def _is_over(self) -> bool:
        return bool(self.interrupt_signal) or self._given_up is not None

    def _seconds_to_wait(self) -> float | None:
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None

    def _ended(self, index: int) -> None:
        status = self.wrks[index].inner.exitcode
        if self.interrupt_signal:
            return
        seconds = self._patience[index].end(passing=status == TRY_LATER)
        if seconds is None:
            self._given_up = ProcessGivenUp(self._patience[index].ends, status)
        else:
            logger.error(f"Server process {index + 1} ended with status {status}; it is started again.")
            self._due[index] = time.monotonic() + seconds

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        with _signals_held():
            super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]

    def _respawn_workers(self, workers: Sequence[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        with _signals_held():
            super()._respawn_workers(workers, spawn_target, target_loader, delay)


@contextmanager
def _signals_held() -> Iterator[None]:
    """A process that is being forked has its starter's handlers, which do not end it: until it has its own, signals wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD_TO_STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD_TO_STOP)
