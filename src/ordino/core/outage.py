"""A database that is away, as a worker's log tells it: one line when it is noticed, one a minute while it lasts, and one when
it is over.
"""

from __future__ import annotations

import logging
import time

from ordino.core.errors import Unavailable

log = logging.getLogger("ordino.reactions")
TELL_SECONDS = 60.0


class Outage:
    """What everything that runs in one worker knows of its database. It logs for all of them."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told_at = 0.0

    def note(self, error: BaseException, doing: str) -> None:
        """``doing`` has failed. Of an ``Unavailable`` one line says it all; anything else is a fault and is shown whole."""
        if not isinstance(error, Unavailable):
            log.error("%s failed; it is tried again", doing, exc_info=error)
            return
        now = time.monotonic()
        if self._since is None:
            self._since = now
            log.warning("%s has to wait for the database, and so has everything else of this worker: %s", doing, error)
        elif now >= self._told_at + TELL_SECONDS:
            log.warning("the database has been away for %.0f seconds: %s", now - self._since, error)
        else:
            return
        self._told_at = now

    def over(self) -> None:
        """The database has answered."""
        if self._since is not None:
            log.warning(
                "the database answers again, after %.0f seconds; the worker goes on", time.monotonic() - self._since
            )
            self._since = None
