"""The load generator: a process of its own. wrk if it is installed, else this file, which speaks just enough HTTP.

``python -m ordino.cli.bench.load <plan as JSON>`` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import sys
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop
from msgspec import Struct

from ordino.cli.bench.world import SKUS, new_cart, new_order

BODIES = 4096
_NAME = b"@" * 24
_HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Plan(Struct, frozen=True, kw_only=True):
    """``kind`` is ``place``, ``hot``, ``promise`` or ``get``; of a ``get``, ``path`` holds ``%05d`` for each SKU's number.

    ``run`` is part of every external id, so that no two runs place the same orders. With ``acknowledged``, the external
    id of every order that was answered as placed is appended to that file as soon as the answer is there.
    """

    url: str
    kind: str
    path: str
    run: str
    clients: int
    seconds: float
    skus: int = SKUS
    acknowledged: str | None = None


class Result(Struct, frozen=True):
    """``good`` answers of all ``answers``, in ``seconds``; ``failed`` requests had no answer."""

    good: int
    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int
    client: str = "asyncio"

    @property
    def rate(self) -> float:
        return self.good / self.seconds


class _Connection(asyncio.Protocol):
    """One keep-alive connection: a request, its whole answer, the next request."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._answer = b""
        self._wanted = -1
        self._sent_at = 0.0
        self._name = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._load.ends_at:
            self._transport.close()
            return
        self._name, request = self._load.request()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer = self._answer + data if self._answer else data
        if self._wanted < 0:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._answer[:end].lower()
            at = head.find(b"content-length:")
            assert at >= 0, "the server answers with a length"
            self._wanted = end + 4 + int(head[at + 15 : (head + b"\r").find(b"\r", at)])
        if len(self._answer) >= self._wanted:
            self._load.answered(self._answer, self._name, self._sent_at)
            self._answer, self._wanted = b"", -1
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.closed(broken=self._sent_at < self._load.ends_at)


class _Load:
    """What all connections of one run share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ends_at = 0.0
        self.good = self.answers = self.failed = 0
        self.latencies: list[float] = []
        self._sequence = 0
        self._open = 0
        self._all_closed: asyncio.Future[None] | None = None
        self._dice = random.Random(plan.run)
        self._requests = self._prepare()
        self._file = None if plan.acknowledged is None else open(plan.acknowledged, "ab", buffering=0)  # noqa: SIM115

    def _prepare(self) -> list[tuple[bytes, bytes]]:
        """Requests to draw from: before and after the external id."""
        path = self.plan.path.encode()
        if self.plan.kind == "get":
            count = path.count(b"%05d")
            draws = (tuple(self._dice.randint(1, self.plan.skus) for _ in range(count)) for _ in range(BODIES))
            return [(b"GET " + path % draw + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"") for draw in draws]
        requests = []
        if self.plan.kind == "promise":
            bodies = [msgspec.json.encode(new_cart(self._dice, skus=self.plan.skus)) for _ in range(BODIES)]
            return [(_HEAD % (path, len(body)) + body, b"") for body in bodies]
        for _ in range(BODIES):
            order = new_order(_NAME.decode(), self._dice, skus=self.plan.skus, hot=self.plan.kind == "hot")
            body = msgspec.json.encode(order)
            before, after = (_HEAD % (path, len(body)) + body).split(_NAME)
            requests.append((before, after))
        return requests

    def request(self) -> tuple[bytes, bytes]:
        self._sequence += 1
        before, after = self._requests[self._sequence % len(self._requests)]
        if not after:
            return b"", before
        name = f"{self.plan.run[:12]}-{self._sequence}".ljust(len(_NAME), "_").encode()
        return name, before + name + after

    def answered(self, answer: bytes, name: bytes, sent_at: float) -> None:
        self.latencies.append(time.perf_counter() - sent_at)
        self.answers += 1
        good = answer[9:12] in (b"200", b"201") and (not name or b'"outcome":"placed"' in answer)
        self.good += good
        if good and self._file is not None:
            self._file.write(name + b"\n")

    def closed(self, *, broken: bool) -> None:
        self.failed += broken
        self._open -= 1
        if not self._open and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)

    async def run(self) -> Result:
        loop = asyncio.get_running_loop()
        at = urlsplit(self.plan.url)
        assert at.hostname is not None
        assert at.port is not None
        self._open = self.plan.clients
        self._all_closed = loop.create_future()
        started = time.perf_counter()
        self.ends_at = started + self.plan.seconds
        for _ in range(self.plan.clients):
            await loop.create_connection(lambda: _Connection(self), at.hostname, at.port)
        await self._all_closed
        seconds = time.perf_counter() - started
        spread = sorted(self.latencies) or [0.0]
        return Result(
            self.good,
            self.answers,
            seconds,
            1000 * spread[len(spread) // 2],
            1000 * spread[min(len(spread) - 1, len(spread) * 99 // 100)],
            self.failed,
        )


def wrk() -> str | None:
    """Where wrk is, if it is installed."""
    return shutil.which("wrk")


async def run(plan: Plan) -> Result:
    """Put the load on from a separate process, and tell which client it was."""
    program = wrk()
    if program is None or plan.acknowledged is not None:
        command = [sys.executable, "-m", "ordino.cli.bench.load", msgspec.json.encode(plan).decode()]
        return msgspec.json.decode(await _output(command), type=Result)
    with as_file(files("ordino.cli.bench").joinpath("load.lua")) as script:
        printed = await _output(_wrk_command(program, script, plan))
    result = msgspec.json.decode(printed.strip().rsplit(b"\n", 1)[-1], type=Result)
    return msgspec.structs.replace(result, client=f"wrk, 1 thread ({program})")


def _wrk_command(program: str, script: Path, plan: Plan) -> list[str]:
    duration = f"{max(1, round(plan.seconds))}s"
    script_arguments = [plan.kind, plan.run, str(plan.skus), plan.path]
    return [
        program,
        "-t1",
        f"-c{plan.clients}",
        f"-d{duration}",
        "--timeout=30s",
        f"-s{script}",
        plan.url,
        "--",
        *script_arguments,
    ]


async def _output(command: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator failed: {err.decode(errors='replace')[-2000:]}")
    return out


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    load = _Load(plan)
    gc.disable()
    print(msgspec.json.encode(uvloop.run(load.run())).decode())


if __name__ == "__main__":
    main()
