"""An embedded PostgreSQL that ends by itself is started again."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import TracebackType

from ordino.core.embedded import EmbeddedError, EmbeddedPostgres
from ordino.core.patience import Patience

log = logging.getLogger("ordino.embedded")
LOOK_SECONDS = 0.1


class Watch:
    """Looks after a started server in a thread of its own until the ``with`` block ends.

    Connections that were open are lost, and their users connect again: the URL stays. If the server cannot be
    started again, this process is told to end as by SIGTERM, and the end of the block raises the ``EmbeddedError`` that says why.
    """

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.error: EmbeddedError | None = None
        self._server = server
        self._patience = Patience()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postgresql", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            if self._server.pid is None and not self._restart():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _restart(self) -> bool:
        """Whether the server runs again, or need not any more."""
        log.error("PostgreSQL ended by itself. It is started again, and recovers; its log is %s.", self._server.log)
        failure = EmbeddedError(f"PostgreSQL ends again and again. Its log says why: {self._server.log}.")
        while (seconds := self._patience.end()) is not None:
            if self._ended.wait(seconds):
                return True
            self._patience.start()
            try:
                self._server.restart()
                log.warning("PostgreSQL runs again.")
                return True
            except EmbeddedError as error:
                failure = error
                log.error("%s", error)  # one sentence says it; a traceback would hide it
        self.error = failure
        return False
