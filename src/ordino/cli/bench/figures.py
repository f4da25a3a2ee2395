"""Runs figures, each on a database of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rich.console import Console

from ordino.cli import running
from ordino.cli.bench import atp, feed, life, place, snapshot, sourcing, synthetic, year
from ordino.cli.bench.figure import Figure, show
from ordino.core.connecting import connect
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import OrdinoError
from ordino.core.settings import Settings

Measure = Callable[[str, Database, Path, float], Awaitable[list[Figure]]]


async def _place(url: str, database: Database, directory: Path, seconds: float) -> list[Figure]:
    return [await place.measure(url, database, directory, seconds, hot=False)]


async def _hot(url: str, database: Database, directory: Path, seconds: float) -> list[Figure]:
    return [await place.measure(url, database, directory, seconds, hot=True)]


async def _life(url: str, database: Database, directory: Path, seconds: float) -> list[Figure]:
    return [await life.measure(url, database, seconds)]


async def _atp(url: str, database: Database, directory: Path, seconds: float) -> list[Figure]:
    return [await atp.measure(url, database, directory, seconds)]


async def _stores(url: str, database: Database, directory: Path, seconds: float) -> list[Figure]:
    return [await atp.measure(url, database, directory, seconds, stores=True)]


async def _verify(url: str, database: Database, directory: Path, seconds: float) -> list[Figure]:
    return [await synthetic.measure(url, database)]


FIGURES: dict[str, Measure] = {
    "place": _place,
    "hot": _hot,
    "life": _life,
    "atp": _atp,
    "stores": _stores,
    "feed": feed.measure,
    "snapshot": snapshot.measure,
    "verify": _verify,
    "sourcing": sourcing.measure,
    "year": year.measure,
}
IN_ALL = ("place", "hot", "life", "atp", "feed")  # a million of something takes some minutes to make


class UnknownFigure(OrdinoError):
    def __init__(self, name: str) -> None:
        super().__init__(f"There is no figure {name!r}; choose from {', '.join(FIGURES)} or all.")


async def run(name: str, seconds: float = 10.0, json: bool = False) -> None:
    """Measure one figure, or ``all``, and print each as soon as it is there. A window lasts ``seconds``."""
    if name != "all" and name not in FIGURES:
        raise UnknownFigure(name)
    console = Console()
    for figure_name in IN_ALL if name == "all" else (name,):
        with tempfile.TemporaryDirectory(prefix="ordino-bench-", dir="/tmp") as temporary:
            os.chmod(temporary, 0o711)  # as root, the server's own user passes through
            directory = Path(temporary)
            async with _fresh_database(directory) as url:
                await running.prepare(url)
                async with running.opened(Settings(), url) as database:
                    for figure in await FIGURES[figure_name](url, database, directory, seconds):
                        show(figure, console, json=json)


@asynccontextmanager
async def _fresh_database(directory: Path) -> AsyncIterator[str]:
    """A database that nothing has written to yet, gone afterwards."""
    external = Settings.from_environment().database_url
    if external is None:
        server = await asyncio.to_thread(EmbeddedPostgres(directory / "data").__enter__)
        try:
            yield server.url
        finally:
            await asyncio.to_thread(server.stop)
        return
    name = "ordino_bench"
    connection = await connect(external, "ordino bench")
    try:
        await connection.execute(f"CREATE DATABASE {name}")  # fails if a bench is running there
        try:
            yield urlunsplit(urlsplit(external)._replace(path=f"/{name}"))
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
