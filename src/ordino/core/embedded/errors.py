"""Why the embedded PostgreSQL cannot be used; each message says what to do."""

from __future__ import annotations

from pathlib import Path

from ordino.core.errors import OrdinoError

ROOM_BYTES = 200 * 1024 * 1024
"""Less room on the disk is too little to start safely."""


class EmbeddedError(OrdinoError):
    """The embedded PostgreSQL cannot be used; the message says what to do."""


class DirectoryUnusable(EmbeddedError):
    """The data directory cannot be written, or the server's user cannot reach it."""


class DiskFull(EmbeddedError):
    """The disk has too little room."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"The disk that holds {directory} is full, or has less than {ROOM_BYTES // 1024**2} MB left. "
            "Free some space, or choose another directory with ORDINO_DATA_DIRECTORY."
        )


class StartFailed(EmbeddedError):
    """The server did not come up."""
