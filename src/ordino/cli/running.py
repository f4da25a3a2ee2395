"""What every command needs: a database to work on, stages that are loaded, and an end that is tidy."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, TypeVar

import uvloop

from ordino.api.server import calm_collector, load_stages
from ordino.core.clock import WallClock
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres, url_of_running
from ordino.core.errors import OrdinoError
from ordino.core.migrations import migrate, pending_on
from ordino.core.settings import Settings

T = TypeVar("T")
__all__ = [
    "calm_collector",
    "database_url",
    "end_by_exception",
    "leave_with_parent",
    "load_stages",
    "opened",
    "prepare",
    "run",
    "stopped",
]


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The URL that is set; or the embedded server that another command runs; or one for as long as this one lasts."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    running = url_of_running(settings.data_directory)
    if running is not None:
        yield running
        return
    with EmbeddedPostgres(settings.data_directory) as server:
        yield server.url


async def prepare(url: str) -> None:
    """Every migration applied, and a flow active."""
    load_stages()
    from ordino.flows.versions import ensure_active

    await migrate(url)
    async with await Database.open(url, pool_size=1) as database:
        at = WallClock().now()
        await database.transact(lambda tx: ensure_active(tx, at=at))


@asynccontextmanager
async def opened(settings: Settings, url: str) -> AsyncIterator[Database]:
    """The database with the flows' plans. Raises ``OrdinoError`` where migrations are pending."""
    from ordino.flows.versions import flow_plans

    database = await Database.of(settings, url, plans=flow_plans())
    async with database:
        if await database.read(pending_on):
            raise OrdinoError("The database lacks migrations; run `ordino migrate`.")
        yield database


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end; SIGTERM ends like Ctrl-C, so that what was started is stopped."""
    end_by_exception()
    return uvloop.run(coroutine)


def end_by_exception() -> None:
    """Python skips ``finally`` on SIGTERM unless it becomes an exception."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def leave_with_parent() -> None:
    """End when the process that started this one is gone, however it went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


async def stopped() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
