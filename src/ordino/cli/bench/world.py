"""What the figures are measured on, and the processes that serve it: an embedded PostgreSQL, the real server."""

from __future__ import annotations

import asyncio
import os
import platform
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg

from ordino.core.statements import Statements
from ordino.orders.model import Address, NewLine, NewOrder

sql = Statements(files("ordino.cli.bench").joinpath("world.sql").read_text(encoding="utf-8"))
SKUS = 10_000
READY_SECONDS = 600.0  # for a server that lives; one that ends is not waited for


async def fill(url: str, *, skus: int = SKUS, hot: int = 0, locations: int = 10, each: int | None = None) -> None:
    """Fill an empty, migrated database; ``hot`` units of the hot SKU can be sold; ``each`` SKU lies at so many locations."""
    connection = await asyncpg.connect(url)
    values = {
        "skus": skus,
        "locations": locations,
        "hot": hot + 1 if hot else 0,
        "each": each or locations,
    }  # its location keeps a buffer of one
    try:
        async with connection.transaction():
            for statement in sql:
                await statement(connection, **{name: values[name] for name in statement.parameters})
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def sku_code(number: int) -> str:
    """``number`` counts from 1."""
    return f"B{number:05d}"


def new_order(external_id: str, dice: random.Random, *, skus: int = SKUS, hot: bool = False) -> NewOrder:
    """An order of two lines; with ``hot``, one of them is a unit of the hot SKU."""
    numbers = dice.sample(range(1, skus + 1), 2)
    lines = [NewLine(sku=sku_code(number), quantity=dice.randint(1, 3), unit_price_minor=1999) for number in numbers]
    if hot:
        lines[0] = NewLine(sku="hot", quantity=1, unit_price_minor=1999)
    goods = sum(line.quantity * line.unit_price_minor for line in lines)
    postal_code = f"{dice.randrange(100) * 1000:05d}"
    return NewOrder(
        channel="bench",
        external_id=external_id,
        currency="EUR",
        lines=lines,
        shipping_minor=495,
        total_minor=goods + 495,
        ship_to=Address(name="A Buyer", line1="Some Street 1", city="Somewhere", postal_code=postal_code, country="DE"),
    )


def new_cart(dice: random.Random, *, skus: int = SKUS) -> dict[str, Any]:
    """What a buyer asks a promise of: two SKUs, to one of a hundred places."""
    lines = [{"sku": sku_code(number), "quantity": 1} for number in dice.sample(range(1, skus + 1), 2)]
    return {"channel": "bench", "country": "DE", "postal_code": f"{dice.randrange(100) * 1000:05d}", "lines": lines}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A running ``ordino serve`` (or ``work``); its output goes to a file, and the end of it into errors."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    async def ready(self) -> None:
        """Wait until it answers ``GET /ready``."""
        port = int(self.url.rsplit(":", 1)[1])
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if self.process.returncode is not None:
                break
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
                writer.close()
                if b" 200 " in status:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)
        raise RuntimeError("the server did not come up:\n" + self.log.read_text(errors="replace")[-2000:])

    async def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """End the process group that was started here."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal_number)
            await self.process.wait()


async def start(
    command: str, database_url: str, directory: Path, *, settings: Mapping[str, str] | None = None
) -> Server:
    """Start ``python -m ordino <command>`` in a process group of its own, on a free port of the loopback."""
    port = free_port()
    environment = {
        **os.environ,
        "ORDINO_DATABASE_URL": database_url,
        "ORDINO_HOST": "127.0.0.1",
        "ORDINO_PORT": str(port),
        **(settings or {}),
    }
    log = directory / f"{command}-{port}.log"
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ordino", command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    finally:
        os.close(out)
    return Server(process, f"http://127.0.0.1:{port}", log)


@asynccontextmanager
async def serving(
    database_url: str, directory: Path, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A server that is ready, ended with the block."""
    server = await start("serve", database_url, directory, settings=settings)
    try:
        await server.ready()
        yield server
    finally:
        await server.stop()


async def conditions(connection: Any) -> dict[str, Any]:
    """What a figure depends on besides the code, read from where it is true."""
    shown = {
        name: await connection.fetchval(f"SHOW {name}")
        for name in (
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "shared_buffers",
            "wal_sync_method",
        )
    }
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": shown,
    }
