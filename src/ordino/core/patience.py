"""How soon something that ended by itself is started again, and when it is given up."""

from __future__ import annotations

import time

TRIES = 10
STEADY_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 5.0
TRY_LATER = 75
"""The exit status of a process that could not start because something else is away (``EX_TEMPFAIL`` of sysexits.h)."""


class Patience:
    """The count of quick ends in a row of one process or task.

    The first one is started again at once, later ones after 0.25, 0.5, 1, 2, 4 and then 5 seconds. Whatever ran for
    ``STEADY_SECONDS`` begins with a new count.
    """

    def __init__(self) -> None:
        self.ends = 0
        self._started = time.monotonic()

    def start(self) -> None:
        """It is started now."""
        self._started = time.monotonic()

    def end(self, *, passing: bool = False) -> float | None:
        """It has ended now. Returns the seconds to wait before the next start, or None when it is given up.

        ``passing``: it ended because something else is away, for which there is no end of waiting.
        """
        if time.monotonic() - self._started >= STEADY_SECONDS:
            self.ends = 0
        self.ends = min(self.ends + 1, TRIES) if passing else self.ends + 1
        if self.ends > TRIES:
            return None
        return 0.0 if self.ends == 1 else min(0.125 * 2 ** (self.ends - 1), LONGEST_WAIT_SECONDS)
