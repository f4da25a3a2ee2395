"""Files that other systems drop, and whoever else may write to the folder: opened, moved and reported on so that nothing they are,
and nothing they are called, stops a watcher or shows it a file from elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from ordino.core.errors import Invalid

NAME_BYTES = 170
"""A longer name is shortened, so that a number before it and ``REPORT`` behind it always fit."""
REPORT = ".report.txt"
SUFFIXES = re.compile(r"(?:\.[A-Za-z0-9]{1,8}){0,2}$")
EMPTY = "The file is empty. Write it under a name that begins with a dot, and rename it when it is whole."
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]")


def safe_name(name: str) -> str:
    """The name by which a file is worked on and reported: its own, if that is UTF-8, can be shown and is not too long. A name that
    has to be changed keeps its beginning and its suffixes, and gets a mark that no other name gets.
    """
    raw = os.fsencode(name)
    shown = _UNSEEN.sub("_", raw.decode("utf-8", "replace"))
    if shown.encode() == raw and len(raw) <= NAME_BYTES:
        return name
    [suffix] = SUFFIXES.findall(shown)[:1]
    stem = shown[: len(shown) - len(suffix)].encode()[: NAME_BYTES - len(suffix) - 9].decode("utf-8", "ignore")
    return f"{stem}-{blake2b(raw, digest_size=4).hexdigest()}{suffix}"


def open_dropped(path: Path) -> BinaryIO:
    """A dropped file, open for reading. Raises ``Invalid`` for what is no file of its own, ``OSError`` for what cannot be read."""
    try:
        # A pipe is opened without waiting for somebody who writes to it, and refused then.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EMLINK):
            raise Invalid(fault_of(path.lstat()) or "The file cannot be opened.") from error
        raise
    state = os.fstat(number)
    if wrong := fault_of(state) or (EMPTY if state.st_size == 0 else None):
        os.close(number)
        raise Invalid(wrong)
    return os.fdopen(number, "rb")


def fault_of(state: os.stat_result) -> str | None:
    """Why this is not read; None of an ordinary file that has no other name."""
    if not stat.S_ISREG(state.st_mode):
        what = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        return f"This is {what}; only ordinary files are read. Copy the file itself into `incoming`."
    if state.st_nlink > 1:
        return "The file has another name elsewhere (a hard link) and could be changed there. Copy it into `incoming`."
    return None


def move_aside(working: Path, folder: Path, text: str) -> str | None:
    """Move a file to a folder, with a report beside it, both under a name that is free there. A report that cannot be written keeps
    no file from being moved; why it could not be written is returned. Raises ``OSError`` if the file cannot be moved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name, number = working.name, 1
    while os.path.lexists(folder / name) or os.path.lexists(folder / f"{name}{REPORT}"):
        number += 1
        name = f"{number}-{working.name}"
    told = folder / f"{name}{REPORT}"
    wrong = None
    try:
        with told.open("x", encoding="utf-8", errors="backslashreplace") as file:  # follows no link that stands there
            file.write(text)
    except OSError as error:
        wrong = str(error.strerror)
        with contextlib.suppress(OSError):
            told.unlink()  # half a report on a full disk
    working.rename(folder / name)
    return wrong
