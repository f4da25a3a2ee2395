"""The lock of a data directory, and who holds it.

The lock file names its holder's process, URL and command. What counts is the system's lock on it: a note that a dead run left
behind holds nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import NamedTuple

from ordino.core.embedded.errors import EmbeddedError

# Whoever asks who holds the lock holds it for an instant, too.
LOCK_SECONDS = 1.0
_held: set[int] = set()


def _let_go() -> None:
    for number in _held:
        os.close(number)
    _held.clear()


# A forked child would otherwise keep the directory locked after its parent was killed.
os.register_at_fork(after_in_child=_let_go)


class Holder(NamedTuple):
    """The run that holds a data directory.

    ``pid`` is its process and ``command`` what it runs, where they could be read; ``url`` is None until others may use
    its server.
    """

    pid: int | None
    url: str | None
    command: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid})" if self.pid else self.command


class DirectoryInUse(EmbeddedError):
    """Another run holds the data directory; ``pid`` is its process, where it could be read."""

    def __init__(self, directory: Path, holder: Holder) -> None:
        super().__init__(
            f"{directory} is in use by {holder}. Stop it first, or choose another directory with ORDINO_DATA_DIRECTORY."
        )
        self.pid = holder.pid


class Lock:
    """A data directory held for one run, until ``let_go``. ``command`` tells others who holds it.

    Raises ``DirectoryInUse`` if another run holds it.
    """

    def __init__(self, directory: Path, command: str) -> None:
        path = _path(directory)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(number)
                    raise DirectoryInUse(directory, _read(path)) from None
                time.sleep(0.02)
        self._number = number
        self._command = command
        _held.add(number)

    def tell(self, url: str) -> None:
        """Tell others the URL of the server; an empty one while it is not up."""
        note = f"{os.getpid()}\n{url}\n{self._command}\n".encode()
        os.pwrite(self._number, note, 0)
        os.ftruncate(self._number, len(note))

    def let_go(self) -> None:
        os.ftruncate(self._number, 0)
        _held.discard(self._number)
        os.close(self._number)


def holder_of(data_directory: Path) -> Holder | None:
    """The run that holds this data directory, or None."""
    path = _path(data_directory.expanduser().absolute())
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    finally:
        os.close(number)
    return None


def _path(directory: Path) -> Path:
    return directory / "lock"


def _read(path: Path) -> Holder:
    pid, url, command = (*path.read_text(errors="replace").splitlines(), "", "", "")[:3]
    return Holder(int(pid) if pid.isdecimal() else None, url or None, command or "another command")
