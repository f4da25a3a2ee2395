"""How commands end when they are told to. Imported before anything heavy, so that nobody waits for that to be heard."""

from __future__ import annotations

import os
import signal
from types import FrameType

LASTING = frozenset({"up", "serve", "work"})
"""Commands that run until they are told to stop: being told so is no failure of theirs."""


def install() -> None:
    """Let SIGINT, SIGTERM and SIGHUP unwind the program and end it with status 0, so that what was started is stopped.

    SIGINT and SIGTERM are heard even if they were ignored at the start: a shell without job control ignores SIGINT in what it
    runs in the background. SIGHUP stays ignored if it was: that is what `nohup` is for. Once the end is under way, further
    signals do not disturb it.
    """
    handled = heard()

    def leave(number: int, frame: FrameType | None) -> None:
        for other in handled:
            signal.signal(other, _under_way)
        raise SystemExit(0)

    for number in handled:
        signal.signal(number, leave)


def heard() -> list[signal.Signals]:
    """The signals that end a lasting command."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


def _under_way(number: int, frame: FrameType | None) -> None:
    os.write(2, b"Ordino is stopping already.\n")
