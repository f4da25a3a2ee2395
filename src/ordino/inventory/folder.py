"""A watched folder: files that other systems drop are taken in as feeds.

``incoming`` takes files named for what they hold: ``counts…``, ``adjustments…`` or ``receipts…``, ``.csv`` or ``.ndjson``, zipped
or not (``.gz``). One that has stood still for a while is moved to ``working`` (a rename: of several watchers, one gets it), applied
as a feed with a name of its own, and moved to ``done`` or ``failed`` with a report beside it. What a watcher that died
left in ``working`` is taken up again when nobody has touched it for some time; what was applied stays applied once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from ordino.core.database import ACTOR, Database
from ordino.core.errors import Invalid, OrdinoError, Refused
from ordino.core.rows import CSV, NDJSON, check_readable, read_rows
from ordino.inventory.feed import COUNTS, KINDS, Applied, Kind, feed

log = logging.getLogger("ordino.feeds")

INCOMING, WORKING, DONE, FAILED = FOLDERS = ("incoming", "working", "done", "failed")
STILL_SECONDS = 2.0
ABANDONED_SECONDS = 300.0
BEAT_SECONDS = 30.0
POLL_SECONDS = 1.0
CHUNK_BYTES = 1 << 18
NAMED = re.compile(r"^(counts|adjustments|receipts)[^/]*?\.(csv|ndjson|jsonl)(\.gz)?$", re.IGNORECASE)
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
    ) -> None:
        self._database = database
        self._path = path
        self._still_seconds = still_seconds
        self._abandoned_seconds = abandoned_seconds
        self._seen: dict[str, tuple[int, int, float]] = {}  # name -> size, mtime, since when it stands so

    async def watch(self, stop: asyncio.Event) -> None:
        """Take in what comes until told to stop. A folder or a database that is away is waited for."""
        while not stop.is_set():
            try:
                await self.sweep()
            except (OSError, OrdinoError) as error:
                log.warning("the feed folder %s is not read now: %s", self._path, error)
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
            working = self._path / WORKING / source.name
            try:
                if source != working:
                    if working.exists():
                        continue  # a file of that name is still being worked on
                    source.rename(working)
                os.utime(working)
            except FileNotFoundError:
                continue  # another watcher was faster
            await self._take(working)
            taken += 1
        return taken

    def _still(self) -> list[Path]:
        found, seen = [], {}
        now = time.monotonic()
        for path in sorted((self._path / INCOMING).iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            state = path.stat()
            size, changed, since = self._seen.get(path.name, (-1, -1, now))
            if (size, changed) != (state.st_size, state.st_mtime_ns):
                since = now
            seen[path.name] = (state.st_size, state.st_mtime_ns, since)
            if now - since >= self._still_seconds:
                found.append(path)
        self._seen = seen
        return found

    def _left(self) -> list[Path]:
        """What nobody works on any more: a watcher touches its file as long as it lives."""
        files = [path for path in sorted((self._path / WORKING).iterdir()) if path.is_file()]
        now = self._database.clock.now().timestamp()
        return [path for path in files if now - path.stat().st_mtime >= self._abandoned_seconds]

    async def _take(self, working: Path) -> None:
        beat = asyncio.create_task(_beat(working))
        try:
            kind, media_type = kind_of(working)
            name = f"{working.name} {await asyncio.to_thread(digest_of, working)}"
            applied = await take_file(self._database, working, kind, media_type, name=name)
        except Refused as error:
            self._end(working, FAILED, failure(working.name, error, self._database.clock.now()))
        else:
            self._end(working, DONE, report(working.name, kind, applied, self._database.clock.now()))
        finally:
            beat.cancel()

    def _end(self, working: Path, folder: str, text: str) -> None:
        target = self._path / folder / working.name
        number = 1
        while target.exists():
            number += 1
            target = self._path / folder / f"{number}-{working.name}"
        (target.parent / f"{target.name}.report.txt").write_text(text, encoding="utf-8")
        working.rename(target)


async def _beat(path: Path) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        os.utime(path)


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


def digest_of(path: Path) -> str:
    """The same content has the same digest; 16 hexadecimal digits."""
    digest = blake2b(digest_size=8)
    with path.open("rb") as file:
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
) -> Applied:
    """Apply a file as a feed. ``read[0]`` grows by the bytes that were read. Raises what ``feed`` raises.

    Of adjustments and receipts, nothing is applied of a file that cannot be read to its end: its content names the feed, and
    the whole file, when it is dropped, is another one.
    """

    async def parts(read: list[int] | None) -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                if read is not None:
                    read[0] += len(chunk)
                yield chunk

    token = ACTOR.set(f"file {path.name}"[:200])
    try:
        if kind is not COUNTS:
            await _check(parts(None), path.name, media_type, charset)
        rows = read_rows(parts(read), media_type, kind.type, charset=charset, decode=True)
        return await feed(database, rows, kind, name=name, as_of=as_of)
    finally:
        ACTOR.reset(token)


async def _check(parts: AsyncIterator[bytes], name: str, media_type: str, charset: str | None) -> None:
    try:
        await check_readable(parts, media_type, charset=charset)
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


def failure(name: str, error: Refused, at: datetime) -> str:
    """Why a file could not be read on, for a person."""
    return f"{name}: failed, {at:%Y-%m-%d %H:%M:%S} UTC\n{error.detail}\n"
