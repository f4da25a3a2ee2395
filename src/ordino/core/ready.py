"""A process tells the one that started it that it is ready for its work."""

from __future__ import annotations

import contextlib
import os

READY_VARIABLE = "ORDINO_READY"


def tell_ready() -> None:
    """Tell it, if somebody waits to be told."""
    writer = os.environ.get(READY_VARIABLE, "")
    if writer.isdecimal():
        with contextlib.suppress(OSError):  # the one that waited is gone, or has been told
            os.write(int(writer), b"r")
