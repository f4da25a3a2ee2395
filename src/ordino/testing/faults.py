"""What an adapter that speaks HTTP has to bear from the other side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ordino.core.errors import AccountUnavailable, AnswerLost, Unavailable
from ordino.testing.server import LocalServer, Reply

CallAt = Callable[[str], Awaitable[Any]]
LARGE_BYTES = 50_000_000


@pytest.mark.asyncio
class HttpFaultsSuite:
    """Subclass it and give it the fixture ``call_at``: a function of a base URL that makes one call there, whichever, and
    raises what your adapter raises. Let the adapter wait for a second or two at most, or the suite takes as long as it waits.
    """

    seconds = 28.0  # Ordino gives a call up after 30.

    async def _raised(self, call_at: CallAt, reply: Reply, *, requests: int = 1) -> Exception:
        async with LocalServer(lambda asked: reply) as server:
            error = await self._error(call_at, server.url)
            assert len(server.asked) == requests, "it asked more than once; whoever calls an adapter asks again"
        return error

    async def _error(self, call_at: CallAt, url: str) -> Exception:
        try:
            async with asyncio.timeout(self.seconds):
                answer = await call_at(url)
        except TimeoutError:
            pytest.fail(f"it took more than {self.seconds:g} seconds")
        except Exception as error:
            return error
        pytest.fail(f"it answered {type(answer).__name__}, and should have raised")

    @pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"", b'{"', b"[1, 2]", b"\xff\xfe", b"[" * 100_000])
    async def test_an_answer_without_sense_is_lost(self, call_at: CallAt, body: bytes) -> None:
        error = await self._raised(call_at, Reply(body=body))
        assert isinstance(error, AnswerLost), f"it raised {type(error).__name__}: {error}"

    async def test_an_answer_of_50_megabytes_is_lost_and_not_read(self, call_at: CallAt) -> None:
        error = await self._raised(call_at, Reply(endless_bytes=LARGE_BYTES))
        assert isinstance(error, AnswerLost), f"it raised {type(error).__name__}: {error}"

    async def test_an_answer_that_breaks_off_is_lost(self, call_at: CallAt) -> None:
        error = await self._raised(call_at, Reply(body=b'{"id": "1234567890"}', cut_after=5))
        assert isinstance(error, AnswerLost), f"it raised {type(error).__name__}: {error}"

    async def test_an_answer_that_does_not_come_is_lost(self, call_at: CallAt) -> None:
        error = await self._raised(call_at, Reply(after_seconds=self.seconds + 5))
        assert isinstance(error, AnswerLost), f"it raised {type(error).__name__}: {error}"

    @pytest.mark.parametrize("status", [500, 502, 504])
    async def test_a_failure_over_there_is_a_lost_answer(self, call_at: CallAt, status: int) -> None:
        error = await self._raised(call_at, Reply(status=status, body=b"Internal error"))
        assert isinstance(error, AnswerLost), f"it raised {type(error).__name__}: {error}"

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_pause_that_is_asked_for_is_passed_on(self, call_at: CallAt, status: int) -> None:
        error = await self._raised(call_at, Reply(status=status, headers={"Retry-After": "7"}))
        assert isinstance(error, AccountUnavailable), f"it raised {type(error).__name__}: {error}"
        assert error.retry_after_seconds == 7, "Retry-After is not passed on"

    @pytest.mark.parametrize("status", [401, 403])
    async def test_credentials_that_are_refused_pause_the_account(self, call_at: CallAt, status: int) -> None:
        error = await self._raised(call_at, Reply(status=status, body=b'{"error": "no"}'))
        assert isinstance(error, AccountUnavailable), f"it raised {type(error).__name__}: {error}"

    async def test_a_redirect_is_not_followed(self, call_at: CallAt) -> None:
        async with LocalServer(lambda asked: Reply.of({})) as elsewhere:
            error = await self._raised(call_at, Reply(status=307, headers={"Location": f"{elsewhere.url}/v1"}))
            assert elsewhere.asked == [], "it went where it was sent, with all that it had to say"
        assert isinstance(error, Unavailable), f"it raised {type(error).__name__}: {error}"

    async def test_a_host_that_does_not_listen_pauses_the_account(self, call_at: CallAt) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        error = await self._error(call_at, url)
        assert isinstance(error, AccountUnavailable), f"it raised {type(error).__name__}: {error}"
