"""A small HTTP server on this machine, which answers what a test says: also what no decent server would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

T = TypeVar("T")
ENDLESS_PART = b"x" * 65_536


class Asked(Struct, frozen=True, kw_only=True):
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self, kind: type[T]) -> T:
        """The body as JSON of this shape."""
        return msgspec.json.decode(self.body, type=kind)

    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode()))


class Reply(Struct, frozen=True, kw_only=True):
    """What is answered. ``after_seconds`` is how long that takes. ``cut_after`` bytes of the body the connection breaks; a body
    that is ``endless_bytes`` long is made of nothing. It may come ``times`` times.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    after_seconds: float = 0
    cut_after: int | None = None
    endless_bytes: int = 0
    times: int = 1

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Reply:
        """JSON."""
        return cls(status=status, body=msgspec.json.encode(value), headers={"Content-Type": "application/json"})


Answering = Callable[[Asked], Reply | Awaitable[Reply]]


class LocalServer:
    """``async with LocalServer(answer) as server``: every request is kept in ``asked`` and answered by ``answer``."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._server: asyncio.Server | None = None
        self.url = ""
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LocalServer:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                reply = self.answer(asked)
                if not isinstance(reply, Reply):
                    reply = await reply
                await asyncio.sleep(reply.after_seconds)
                if not await _write(writer, reply):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    """The next request; None where the client has left."""
    begin = await reader.readline()
    if not begin:
        return None
    method, path, _ = begin.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method=method, path=path, headers=headers, body=body)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Whether the connection is still of use."""
    length = reply.endless_bytes or len(reply.body)
    told = {"Content-Length": str(length), **reply.headers}
    head = f"HTTP/1.1 {reply.status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items())
    writer.write((head.encode("latin-1") + b"\r\n" + reply.body) * (reply.times - 1))
    writer.write(head.encode("latin-1") + b"\r\n")
    if reply.cut_after is not None:
        writer.write(reply.body[: reply.cut_after])
        await writer.drain()
        writer.transport.abort()
        return False
    if reply.endless_bytes:
        for _ in range(reply.endless_bytes // len(ENDLESS_PART)):
            writer.write(ENDLESS_PART)
            await writer.drain()
    writer.write(reply.body)
    await writer.drain()
    return True
