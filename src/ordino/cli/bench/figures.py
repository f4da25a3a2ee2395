"""Runs figures, each on a database of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rich.console import Console

from ordino.cli import running
from ordino.cli.bench import atp, feed, life, place, snapshot, sourcing, synthetic, year
from ordino.cli.bench.figure import Figure, show
from ordino.cli.bench.scale import FULL, Bench, Scale
from ordino.core.connecting import connect
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import OrdinoError
from ordino.core.settings import Settings

Measure = Callable[[Bench], Awaitable[list[Figure]]]

FIGURES: dict[str, Measure] = {
    "place": place.measure,
    "hot": partial(place.measure, hot=True),
    "life": life.measure,
    "atp": atp.measure,
    "stores": partial(atp.measure, stores=True),
    "feed": feed.measure,
    "snapshot": snapshot.measure,
    "verify": synthetic.measure,
    "sourcing": sourcing.measure,
    "year": year.measure,
}
IN_ALL = ("place", "hot", "life", "atp", "feed")  # a million of something takes some minutes to make


class UnknownFigure(OrdinoError):
    def __init__(self, name: str) -> None:
        super().__init__(f"There is no figure {name!r}; choose from {', '.join(FIGURES)} or all.")


async def run(name: str, seconds: float = 10.0, json: bool = False, scale: Scale = FULL) -> None:
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
                    bench = Bench(url=url, database=database, directory=directory, seconds=seconds, scale=scale)
                    for figure in await FIGURES[figure_name](bench):
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
