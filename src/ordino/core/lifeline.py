"""Processes that end when the one that started them is gone, even if it was killed.

The one that starts them keeps the writing end of a pipe and hands on the reading end. The system closes the writing end
when its process ends, so nobody has to tell. The reading end passes through forks: grandchildren notice, too.
"""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "ORDINO_LIFELINE"
GRACE_SECONDS = 35.0
"""How long a process may take to end in order; after that it ends at once."""


class Lifeline:
    """The two ends of the pipe. Children that hold ``reader`` end when ``writer`` is closed."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def keep(self) -> None:
        """Close the reading end, once the children have theirs."""
        os.close(self.reader)

    def cut(self) -> None:
        """Tell the children to end in order."""
        os.close(self.writer)


def end_with_starter() -> None:
    """End this process in order, as by SIGTERM, once the process that started it is gone. Without a lifeline: no effect."""
    reader = os.environ.get(VARIABLE, "")
    if reader.isdecimal():
        threading.Thread(target=_watch, args=(int(reader), os.getppid()), name="lifeline", daemon=True).start()


def _watch(reader: int, parent: int) -> None:
    try:
        os.read(reader, 1)
    except OSError:
        # The descriptor did not come along, as where children are spawned and not forked.
        while os.getppid() == parent:
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
