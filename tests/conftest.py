"""What every test may ask for: a PostgreSQL of its own, and in it a fresh database per module."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import hypothesis
import pytest

from ladder import watched
from ordino.cli.running import prepare
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.migrations import DIRECTORY, migrate
from stored import TESTS, kinds_by_test, writes

T = TypeVar("T")
TEMPLATE = "migrated"
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # a busy machine takes longer, and is none the worse
hypothesis.settings.load_profile("busy")


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory that every user may pass through, with a path short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="ordino-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def directory() -> Iterator[Path]:
    """The data directory of an embedded PostgreSQL of the test's own, not made yet."""
    with short_directory() as parent:
        yield parent / "data"


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """One running PostgreSQL for each worker of the test run."""
    with short_directory() as parent, EmbeddedPostgres(parent / "data", {"shared_buffers": "128MB"}) as server:
        yield server


@pytest.fixture(scope="session")
def template(cluster: EmbeddedPostgres) -> str:
    """The name of a database with every migration applied, made once for each worker."""
    finish(command(cluster.url, f"CREATE DATABASE {TEMPLATE}"))
    finish(migrate(database_at(cluster.url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture(scope="module")
def database_url(cluster: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A fresh, migrated database for the module; dropped after it, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    finish(command(cluster.url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield database_at(cluster.url, name)
    finish(command(cluster.url, f"DROP DATABASE {name} WITH (FORCE)"))


@asynccontextmanager
async def new_database(cluster: EmbeddedPostgres, template: str = "template0") -> AsyncIterator[str]:
    """The URL of a database for one test, empty or made from a template; dropped after it, whoever is still connected."""
    name = f"new_{uuid4().hex}"
    await command(cluster.url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield database_at(cluster.url, name)
    finally:
        await command(cluster.url, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def database_before(cluster: EmbeddedPostgres, revision: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database as it was before a revision."""
    async with new_database(cluster) as url:
        connection = await asyncpg.connect(url)
        try:
            await run_revisions(connection, before=revision)
            yield connection
        finally:
            await connection.close()


async def run_revisions(connection: asyncpg.Connection, *, since: str = "0001", before: str = "9999") -> None:
    """The SQL of all revisions from ``since`` on that come before ``before``."""
    for script in sorted(DIRECTORY.glob("versions/*.sql")):
        if since <= script.name[:4] < before:
            await connection.execute(script.read_text(encoding="utf-8"))


@pytest.fixture
async def keyless(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A database in which there has never been a key, with the packaged flow."""
    async with new_database(cluster, template) as url:
        await prepare(url)
        yield url


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on an event loop of its own, wherever the caller is."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def command(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def database_at(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    """The module's database, opened without any flow: nothing follows from what happens."""
    async with await Database.open(database_url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def writes_what_it_says(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that stands for a kind of event in ``stored_events.jsonl`` writes one: each process of a test run sees to its own tests."""
    name = getattr(request.node, "originalname", request.node.name)
    kinds = kinds_by_test().get(f"{request.path.relative_to(TESTS).as_posix()}::{name}")
    if kinds is None:
        yield
        return
    with writes(kinds):
        yield


@pytest.fixture(autouse=True)
def ladder() -> Iterator[list[str]]:
    """Every transaction of every test takes its locks in the order of ``core/locks.py``. A test that breaks it on purpose clears this."""
    with watched() as wrong:
        yield wrong
    assert wrong == []
