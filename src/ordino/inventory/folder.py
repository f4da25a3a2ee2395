"""A watched folder: files that other systems drop are taken in as feeds.

``incoming`` takes files named for what they hold: ``counts…``, ``adjustments…`` or ``receipts…``, ``.csv`` or ``.ndjson``, zipped
or not (``.gz``). One that has stood still for a while is moved to ``working`` (a rename: of several watchers, one gets it), applied
as a feed with a name of its own, and moved to ``done`` or ``failed`` with a report beside it. What a watcher that died
left in ``working`` is taken up again when nobody has touched it for some time; what was applied stays applied once. An empty file
is waited for as long, and then has failed.

Whoever may write to the folder can put anything there. Only ordinary files are read, under names that can be shown; links are not
followed, and what cannot be taken in is moved to ``failed`` once (``dropped.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from ordino.core.database import ACTOR, Database
from ordino.core.errors import Invalid, OrdinoError, Refused, Unavailable
from ordino.core.rows import CSV, LIMITS, NDJSON, Limits, check_readable, read_rows
from ordino.inventory.dropped import move_aside, open_dropped, safe_name
from ordino.inventory.feed import COUNTS, KINDS, Applied, Kind, feed

log = logging.getLogger("ordino.feeds")

INCOMING, WORKING, DONE, FAILED = FOLDERS = ("incoming", "working", "done", "failed")
STILL_SECONDS = 2.0
ABANDONED_SECONDS = 300.0
BEAT_SECONDS = 30.0
POLL_SECONDS = 1.0
CHUNK_BYTES = 1 << 18
NAMED = re.compile(r"^(counts|adjustments|receipts)[^/]*?\.(csv|ndjson|jsonl)(\.gz)?$", re.IGNORECASE)
DIGEST_BYTES = 8
Opener = Callable[[Path], BinaryIO]
CHANGED = "The file was changed while it was read. Write it under a name that begins with a dot, and rename it when it is whole."
FAULTY = (
    "Ordino has a fault here, which is logged. Send the same file again under the same name: no row is applied twice."
)
HOW = (
    "Name files counts….csv, adjustments….csv or receipts….csv (or .ndjson, each also zipped as .gz); "
    "the columns are those of the API."
)


class Folder:
    """One folder under watch."""

    def __init__(
        self,
        database: Database,
        path: Path,
        *,
        still_seconds: float = STILL_SECONDS,
        abandoned_seconds: float = ABANDONED_SECONDS,
        limits: Limits = LIMITS,
    ) -> None:
        self._database = database
        self._path = path
        self._still_seconds = still_seconds
        self._abandoned_seconds = abandoned_seconds
        self._limits = limits
        self._complained: set[str] = set()
        self._seen: dict[str, tuple[int, int, float]] = {}  # name -> size, mtime, since when it stands so

    async def watch(self, stop: asyncio.Event) -> None:
        """Take in what comes until told to stop. A folder or a database that is away is waited for, and nothing that lies in the
        folder ends the watch.
        """
        while not stop.is_set():
            try:
                await self.sweep()
            except (OSError, OrdinoError) as error:
                log.warning("the feed folder %s is not read now: %s", self._path, error)
            except Exception:
                log.exception("the feed folder %s could not be swept", self._path)
            try:
                await asyncio.wait_for(stop.wait(), POLL_SECONDS)
            except TimeoutError:
                continue

    async def sweep(self) -> int:
        """Take in every file that has stood still. Returns how many there were."""
        for folder in FOLDERS:
            (self._path / folder).mkdir(parents=True, exist_ok=True)
        taken = 0
        for source in (*self._left(), *self._still()):
            working = self._claim(source)
            if working is None:
                continue
            await self._take(working)
            taken += 1
        return taken

    def _claim(self, source: Path) -> Path | None:
        """Where the file is worked on, which is ours now; None if it is not."""
        working = self._path / WORKING / safe_name(source.name)
        try:
            if source != working:
                if os.path.lexists(working):
                    return None  # a file of that name is still being worked on
                source.rename(working)
            os.utime(working, follow_symlinks=False)
        except FileNotFoundError:
            return None  # another watcher was faster, or whoever dropped it has taken it back
        except OSError as error:
            self._complain(source.name, f"cannot be moved to {WORKING!r}: {error.strerror}")
            return None
        return working

    def _still(self) -> list[Path]:
        found, seen = [], {}
        now = time.monotonic()
        for path, state in _entries(self._path / INCOMING):
            if path.name.startswith("."):
                continue
            size, changed, since = self._seen.get(path.name, (-1, -1, now))
            if (size, changed) != (state.st_size, state.st_mtime_ns):
                since = now
            seen[path.name] = (state.st_size, state.st_mtime_ns, since)
            # An empty file is nearly always one whose writer has only opened it so far.
            empty = state.st_size == 0 and stat.S_ISREG(state.st_mode)
            if now - since >= (self._abandoned_seconds if empty else self._still_seconds):
                found.append(path)
        self._seen = seen
        self._complained &= set(seen)
        return found

    def _left(self) -> list[Path]:
        """What nobody works on any more: a watcher touches its file as long as it lives."""
        now = self._database.clock.now().timestamp()
        return [
            path for path, state in _entries(self._path / WORKING) if now - state.st_mtime >= self._abandoned_seconds
        ]

    async def _take(self, working: Path) -> None:
        """Apply a file and move it aside. While the database is away it stays where it is, and is taken up again later."""
        beat = asyncio.create_task(_beat(working))
        folder = FAILED
        try:
            kind, media_type = kind_of(working)
            digest = await asyncio.to_thread(digest_of, working, open_dropped)
            applied = await take_file(
                self._database, working, kind, media_type,
                name=f"{working.name} {digest}", limits=self._limits, opened=open_dropped, digest=digest,
            )  # fmt: skip
        except Refused as error:
            told = failure(working.name, error.detail, self._database.clock.now())
        except Unavailable as error:
            log.warning("%s waits in %r: %s", working.name, WORKING, error)
            return
        except FileNotFoundError:
            log.warning("%s is gone before it was taken in", working.name)
            return
        except OSError as error:
            told = failure(working.name, f"The file cannot be read: {error.strerror}.", self._database.clock.now())
        except Exception:
            log.exception("%s could not be taken in", working.name)
            told = failure(working.name, FAULTY, self._database.clock.now())
        else:
            told = report(working.name, kind, applied, self._database.clock.now())
            folder = DONE
        finally:
            beat.cancel()
        self._end(working, folder, told)

    def _end(self, working: Path, folder: str, text: str) -> None:
        try:
            wrong = move_aside(working, self._path / folder, text)
        except OSError as error:
            log.error("%s stays in %r, it cannot be moved: %s\n%s", working.name, WORKING, error.strerror, text)
            return
        if wrong is not None:
            log.error("the report of %s cannot be written: %s\n%s", working.name, wrong, text)

    def _complain(self, name: str, detail: str) -> None:
        """Once for each file, for as long as it lies there."""
        if name not in self._complained:
            self._complained.add(name)
            log.error("%s %s", safe_name(name), detail)


def _entries(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """What lies in a folder, in order of names, but for other folders; links are not followed."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        try:
            state = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it is gone
        if not stat.S_ISDIR(state.st_mode):
            found.append((folder / entry.name, state))
    return found


async def _beat(path: Path) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        with contextlib.suppress(OSError):
            os.utime(path, follow_symlinks=False)


def kind_of(path: Path, kind: str | None = None) -> tuple[Kind, str]:
    """What a file holds, by its name unless told, and its media type. Raises ``Invalid``."""
    named = NAMED.match(path.name)
    if kind is None and named is None:
        raise Invalid(f"{path.name!r} does not say what it holds. {HOW}")
    if kind is not None and kind not in KINDS:
        raise Invalid(f"There is no kind of feed {kind!r}; choose from {', '.join(KINDS)}.")
    plain = path.name.lower().removesuffix(".gz")
    media_type = NDJSON if plain.endswith((".ndjson", ".jsonl")) else CSV
    return KINDS[kind or named[1].lower()], media_type  # type: ignore[index]


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def digest_of(path: Path, opened: Opener = _open) -> str:
    """The same content has the same digest; 16 hexadecimal digits."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    with opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


async def take_file(
    database: Database,
    path: Path,
    kind: Kind,
    media_type: str,
    *,
    name: str | None,
    as_of: datetime | None = None,
    charset: str | None = None,
    read: list[int] | None = None,
    limits: Limits = LIMITS,
    opened: Opener = _open,
    digest: str | None = None,
) -> Applied:
    """Apply a file as a feed. ``read[0]`` grows by the bytes that were read. Raises what ``feed`` raises, ``OSError`` for what
    cannot be read, and ``Invalid`` if what was read in the end does not have the ``digest``: somebody still writes to the file.

    Of adjustments and receipts, nothing is applied of a file that cannot be read to its end: its content names the feed, and
    the whole file, when it is dropped, is another one.
    """

    async def parts(read: list[int] | None) -> AsyncIterator[bytes]:
        was = blake2b(digest_size=DIGEST_BYTES)
        with opened(path) as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                was.update(chunk)
                if read is not None:
                    read[0] += len(chunk)
                yield chunk
        if digest is not None and was.hexdigest() != digest:
            raise Invalid(CHANGED)

    token = ACTOR.set(f"file {path.name}"[:200])
    try:
        if kind is not COUNTS:
            await _check(parts(None), path.name, media_type, charset, limits)
        rows = read_rows(parts(read), media_type, kind.type, charset=charset, decode=True, limits=limits)
        return await feed(database, rows, kind, name=name, as_of=as_of)
    finally:
        ACTOR.reset(token)


async def _check(parts: AsyncIterator[bytes], name: str, media_type: str, charset: str | None, limits: Limits) -> None:
    try:
        await check_readable(parts, media_type, charset=charset, limits=limits)
    except Invalid as error:
        raise Invalid(f"{error.detail} Nothing of {name!r} was applied.", faults=error.faults) from error


def report(name: str, kind: Kind, applied: Applied, at: datetime) -> str:
    """What became of a file, for a person."""
    lines = [
        f"{name}: {kind.name}, {at:%Y-%m-%d %H:%M:%S} UTC",
        f"{applied.rows} rows: {applied.applied} applied, {applied.unchanged} unchanged, {applied.refused} refused.",
    ]
    if applied.faults:
        lines.append("Correct these rows and send them again, by themselves:")
    lines += [f"  line {fault.line}: {fault.pointer.lstrip('/') or 'row'}: {fault.detail}" for fault in applied.faults]
    if applied.refused > len(applied.faults):
        lines.append(f"  … and {applied.refused - len(applied.faults)} more")
    return "\n".join(lines) + "\n"


def failure(name: str, detail: str, at: datetime) -> str:
    """Why a file could not be read on, for a person."""
    return f"{name}: failed, {at:%Y-%m-%d %H:%M:%S} UTC\n{detail}\n"
