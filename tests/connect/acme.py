"""Acme Pay as a server on this machine: it keeps books, knows keys, and does wrong what a test asks for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from msgspec import Struct

from ordino.testing import Asked, LocalServer, Reply

SECRET = "acme-secret"


class Books(Struct):
    """What Acme holds for one authorization, in minor units."""

    order: str
    authorized: int
    captured: int = 0
    voided: int = 0
    refunded: int = 0


class Acme:
    """Answers as Acme's documentation says. ``faults`` are used up one by one, by the requests that come.

    ``lost``: it is done, and the connection breaks. ``late``: it is done, and the answer takes too long. ``broken`` and ``away``: 500
    and 503, and nothing is done. ``garbage``: it is done, and the answer is HTML. ``other``: the answer names another order.
    ``twice``: the answer comes twice. ``pending``: not decided yet. ``busy``: 429.
    """

    def __init__(self) -> None:
        self.books: dict[str, Books] = {}
        self.answered: dict[str, dict[str, Any]] = {}
        self.faults: deque[str] = deque()
        self.always: str | None = None
        self.keys: Counter[str] = Counter()
        self.seen: list[str] = []

    def answer(self, asked: Asked) -> Reply:
        fault = self.always or (self.faults.popleft() if self.faults else "")
        if asked.headers.get("authorization") != f"Bearer {SECRET}":
            return Reply.of({"error": "who are you?"}, 401)
        if fault in ("broken", "away", "busy"):
            status = {"broken": 500, "away": 503, "busy": 429}[fault]
            return Reply(status=status, body=b"no", headers={"Retry-After": "1"} if fault == "busy" else {})
        key, body = asked.headers["idempotency-key"], asked.json(dict[str, Any])
        self.keys[key] += 1
        self.seen.append(str(body))
        if fault == "pending":
            return Reply.of({"id": "", "order": body["order"], "status": "pending", "amount": 0})
        if key not in self.answered:
            self.answered[key] = self._do(asked.path.strip("/").split("/"), body)
        said = self.answered[key]
        status = 402 if said["status"] == "declined" else 200
        match fault:
            case "lost":
                return Reply(body=b'{"id": ', cut_after=3)
            case "late":
                return Reply(body=b"{}", after_seconds=30)
            case "garbage":
                return Reply(body=b"<html>All is well.</html>")
            case "other":
                return Reply.of({**said, "order": str(uuid4())})
            case "twice":
                reply = Reply.of(said, status)
                return Reply(status=status, body=reply.body, headers=reply.headers, times=2)
        return Reply.of(said, status)

    def _do(self, path: list[str], body: dict[str, Any]) -> dict[str, Any]:
        amount, order = body["amount"], body["order"]
        said = {"id": uuid4().hex, "order": order, "status": "done", "amount": amount}
        no = {**said, "status": "declined", "code": "not_enough", "message": "There is not so much left."}
        if path[-1] == "authorizations":
            if body.get("card") == "tok_declined":
                return {**no, "code": "card_declined", "message": "The card was declined."}
            self.books[said["id"]] = Books(order, amount)
            return said
        book = self.books.get(path[-2])
        if book is None or book.order != order:
            return {**said, "status": "refused", "code": "unknown_authorization"}
        left = book.authorized - book.captured - book.voided
        match path[-1]:
            case "captures" if amount <= left:
                book.captured += amount
            case "voids" if amount <= left:
                book.voided += amount
            case "refunds" if amount <= book.captured - book.refunded:
                book.refunded += amount
            case _:
                return no
        return said

    def of(self, order_id: Any) -> list[tuple[int, int, int, int]]:
        """(authorized, voided, captured, refunded) of each authorization of an order."""
        return [
            (book.authorized, book.voided, book.captured, book.refunded)
            for book in self.books.values()
            if book.order == str(order_id)
        ]


@contextmanager
def in_a_thread() -> Iterator[str]:
    """The URL of an Acme that runs beside a test in another process; the environment names it."""
    loop, started, url = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        async with LocalServer(Acme().answer) as server:
            url.append(server.url)
            started.set()
            await asyncio.Event().wait()

    def run() -> None:
        tasks.append(loop.create_task(serve()))
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(tasks[0])

    tasks: list[asyncio.Task[None]] = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(10)
    os.environ |= {"ACME_URL": url[0], "ACME_SECRET": SECRET}
    yield url[0]
    loop.call_soon_threadsafe(tasks[0].cancel)
    thread.join(10)
