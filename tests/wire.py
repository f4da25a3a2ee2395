"""The wire between Ordino and PostgreSQL, as a test may spoil it: silent in either direction, cut, or closed by half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit


class Wire:
    """Forwards TCP to the server's Unix socket. What is swallowed is lost, also when the wire forwards again.

    ``up`` and ``down`` say whether bytes pass to the server and from it. ``spoil_at`` goes silent with the first message to the server
    that holds some text, once.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._name = f"{parts.username}@"
        self._database = parts.path
        self._at: tuple[bytes, str] | None = None
        self._writers: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.up = self.down = True
        self.spoiled = asyncio.Event()
        self.connections = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"postgresql://{self._name}127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._database}"

    def spoil_at(self, text: str, direction: str) -> None:
        """``direction``: up (the message itself is lost), down (its answer is), both."""
        self._at = (text.encode(), direction)
        self.spoiled.clear()

    def silence(self) -> None:
        self.up = self.down = False

    def forward(self) -> None:
        self._at = None
        self.up = self.down = True

    def cut(self) -> None:
        """Every connection is reset."""
        for pair in self._writers:
            for writer in pair:
                writer.transport.abort()

    def half_close(self) -> None:
        """Every connection tells the client that nothing more comes from the server."""
        for client, _ in self._writers:
            if not client.is_closing():
                client.write_eof()

    def say_farewell(self) -> None:
        """Every client hears the server's last word, as when it is stopped; the end of the connection is still on its way."""
        fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
        heard = b"farewell\0heard\0"  # a setting, which tells a test that the client has read as far
        for client, _ in self._writers:
            for kind, content in ((b"E", fields), (b"S", heard)):
                client.write(kind + (len(content) + 4).to_bytes(4, "big") + content)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there_reader, there = await asyncio.open_unix_connection(self._socket)
        self._writers.append((writer, there))
        for pump in (self._pump(reader, there, up=True), self._pump(there_reader, writer, up=False)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while data := await reader.read(65536):
                if up and self._at is not None and self._at[0] in data:
                    direction = self._at[1]
                    self._at = None
                    self.up, self.down = self.up and direction == "down", self.down and direction == "up"
                    self.spoiled.set()
                if self.up if up else self.down:
                    writer.write(data)
                    await writer.drain()
        except (OSError, RuntimeError):  # cut, or written to after it was closed by half
            pass
        finally:
            writer.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    await wire.open()
    try:
        yield wire
    finally:
        await wire.close()
