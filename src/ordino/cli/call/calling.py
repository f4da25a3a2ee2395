"""A request and its answer: asked of the application in this process, or of a server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from msgspec import Struct, structs

from ordino.api.server import load_stages
from ordino.cli.call.asked import Wanted
from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.core.settings import Settings

if TYPE_CHECKING:
    from litestar import Litestar

    from ordino.web.operations import Table

COMMAND = "ordino call"
CONNECT_SECONDS = 10.0
PATIENT_SECONDS = 86_400.0
"""How long a body may pause in this process, where it takes no server's place."""
PARTS_AHEAD = 4


class Answer(Struct, frozen=True, kw_only=True):
    """Status, media type, and the body part by part."""

    status: int
    media_type: str
    parts: AsyncIterator[bytes]

    async def whole(self) -> bytes:
        return b"".join([part async for part in self.parts])


Call = Callable[[Wanted], AbstractAsyncContextManager[Answer]]


class Application:
    """The application as a server has it, in this process. Without a key it may do everything, and acts in the command's name."""

    def __init__(self, settings: Settings) -> None:
        load_stages()
        from ordino.api.app import build

        patient = structs.replace(settings, body_wait_seconds=PATIENT_SECONDS)
        self._database: Database | None = None
        self.app: Litestar = build(self._opened, patient, within=COMMAND)
        self.table: Table = self.app.state.operations

    async def _opened(self) -> Database:
        assert self._database is not None, "it is started on a database"
        return self._database

    @asynccontextmanager
    async def on(self, database: Database, token: str | None) -> AsyncIterator[Call]:
        """What is called on a database, which is closed at the end. ``token`` is an API key."""
        self._database = database
        async with self.app.lifespan():
            yield lambda wanted: asked_of(self.app, wanted, token)


@asynccontextmanager
async def asked_of(app: Any, wanted: Wanted, token: str | None) -> AsyncIterator[Answer]:
    """The answer of an ASGI application; it is read while it is made."""
    told: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue(PARTS_AHEAD)
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
        "method": wanted.view.method, "path": unquote(wanted.path), "raw_path": wanted.path.encode(), "root_path": "",
        "query_string": wanted.query_string.encode(), "headers": [(b"host", b"localhost"), *wanted.headers(token)],
        "client": ("127.0.0.1", 0), "server": ("localhost", 80),
    }  # fmt: skip

    async def run() -> None:
        try:
            await app(scope, _received(wanted), told.put)
        except Exception as error:
            await told.put(error)
        else:
            await told.put(None)

    async def heard() -> dict[str, Any] | None:
        message = await told.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def parts() -> AsyncIterator[bytes]:
        while (message := await heard()) is not None:
            yield message.get("body", b"")

    running = asyncio.create_task(run())
    try:
        start = await heard()
        assert start is not None, "every request is answered"
        headers = {name.lower(): value for name, value in start["headers"]}
        yield Answer(
            status=start["status"], media_type=_media_type(headers.get(b"content-type", b"").decode()), parts=parts()
        )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _received(wanted: Wanted) -> Callable[[], Any]:
    """What an ASGI application is told: the body, and then nothing more, for nobody hangs up."""
    parts = None if wanted.body is None else wanted.body.parts()
    whole = False

    async def receive() -> dict[str, Any]:
        nonlocal whole
        if whole:
            await asyncio.Event().wait()
        part = None if parts is None else await anext(parts, None)
        whole = part is None
        return {"type": "http.request", "body": part or b"", "more_body": not whole}

    return receive


@asynccontextmanager
async def over_http(url: str, token: str | None) -> AsyncIterator[Call]:
    """What is called at a server. Raises ``Unavailable`` where it does not answer."""
    import httpx

    @asynccontextmanager
    async def call(wanted: Wanted) -> AsyncIterator[Answer]:
        query = wanted.query_string
        try:
            async with client.stream(
                wanted.view.method,
                f"{url}{wanted.path}{'?' if query else ''}{query}",
                headers=wanted.headers(token),
                content=None if wanted.body is None else wanted.body.parts(),
            ) as response:
                media_type = _media_type(response.headers.get("content-type", ""))
                yield Answer(status=response.status_code, media_type=media_type, parts=response.aiter_bytes())
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unavailable(
                f"{url} cannot be reached: {_why(error)}. Start a server there, or name another one with ORDINO_URL."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            unknown = "Send the request again."
            if wanted.view.method != "GET":
                unknown = (
                    "It is not known whether the request took effect: look first, or send it again with the same --key."
                )
            raise Unavailable(f"{url} did not answer to the end: {_why(error)}. {unknown}") from error

    async with httpx.AsyncClient(timeout=httpx.Timeout(None, connect=CONNECT_SECONDS)) as client:
        yield call


def _why(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _media_type(said: str) -> str:
    return said.partition(";")[0].strip().lower()
