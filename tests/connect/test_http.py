"""The client of adapters: every failure becomes the right error, on a real server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct

from ordino.connect.http import Client, Limits, is_public, retry_after_seconds
from ordino.core.errors import AccountUnavailable, AnswerLost, Invalid, Refused, Unavailable
from ordino.testing import HttpFaultsSuite, LocalServer, Reply

NEAR = Limits(connect_seconds=1, call_seconds=1, private_addresses=True)


class Thing(Struct):
    id: str


def client_of(url: str, limits: Limits = NEAR) -> Client:
    return Client(url, who="payment provider acme", headers={"Authorization": "Bearer top-secret"}, limits=limits)


async def ask(url: str) -> Thing:
    return (await client_of(url).call("POST", "things", json={"a": 1})).json(Thing)


class TestClient(HttpFaultsSuite):
    """It passes the suite that every adapter over HTTP has to pass."""

    @pytest.fixture
    def call_at(self) -> Callable[[str], Any]:
        return ask


async def test_an_answer_is_read_and_the_request_is_what_was_said() -> None:
    async with LocalServer(lambda asked: Reply.of({"id": "one", "more": True})) as server:
        client = client_of(f"{server.url}/v1")
        assert (await client.call("POST", "things", json={"a": 1}, headers={"Idempotency-Key": "k"})).json(
            Thing
        ).id == "one"
        await client.call("POST", "things", form={"a": "1 2", "b": "ü"})
    first, second = server.asked
    assert (first.method, first.path, first.json(dict[str, int])) == ("POST", "/v1/things", {"a": 1})
    assert (first.headers["idempotency-key"], first.headers["authorization"]) == ("k", "Bearer top-secret")
    assert first.headers["host"] == server.url.removeprefix("http://")
    assert second.form() == {"a": "1 2", "b": "ü"}


async def test_a_part_of_a_path_leads_nowhere_else() -> None:
    async with LocalServer(lambda asked: Reply.of({"id": "x"})) as server:
        client = client_of(f"{server.url}/v1/")
        await client.call("GET", "payments", "../refunds?all=1#é /", "captures")
        for part in ("..", ".", ""):
            with pytest.raises(Refused, match="cannot be a part of a path"):
                await client.call("GET", "payments", part)
    assert [asked.path for asked in server.asked] == ["/v1/payments/..%2Frefunds%3Fall%3D1%23%C3%A9%20%2F/captures"]


@pytest.mark.parametrize("status", [201, 400, 402, 404, 409, 422])
async def test_what_an_adapter_has_to_read_is_an_answer(status: int) -> None:
    async with LocalServer(lambda asked: Reply.of({"id": "x"}, status)) as server:
        answer = await client_of(server.url).call("GET", "things")
    assert (answer.status, answer.ok, answer.json(Thing).id) == (status, status == 201, "x")


async def test_a_request_that_was_not_taken_was_not_done() -> None:
    async with LocalServer(lambda asked: Reply(status=408)) as server:
        with pytest.raises(Unavailable) as raised:
            await ask(server.url)
    assert type(raised.value) is Unavailable


async def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one() -> None:
    """Two answers to one request: on a connection that is used again, the second would answer somebody else's."""
    numbers = iter(range(10))

    def answer(asked: Any) -> Reply:
        reply = Reply.of({"id": str(next(numbers))})
        return Reply(body=reply.body, headers=reply.headers, times=2)

    async with LocalServer(answer) as server:
        client = client_of(server.url)
        assert [(await client.call("GET", "x")).json(Thing).id for _ in range(3)] == ["0", "1", "2"]


async def test_an_answer_of_50_megabytes_is_given_up_early() -> None:
    async with LocalServer(lambda asked: Reply(endless_bytes=50_000_000)) as server:
        began = time.monotonic()
        with pytest.raises(AnswerLost, match="more than 1000000 bytes"):
            await client_of(server.url, Limits(private_addresses=True)).call("GET", "x")
        assert time.monotonic() - began < 10


async def test_what_was_never_sent_was_never_done() -> None:
    """A host that takes connections and reads nothing has been sent the request; one that does not take them has not."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(AnswerLost, match="may have been done"):
            await ask(url)
    with pytest.raises(AccountUnavailable, match="cannot be found"):
        await client_of("http://nobody.invalid").call("GET", "x")


@pytest.mark.parametrize("url", ["https://127.0.0.1", "https://localhost", "https://[::1]:8443", "https://10.0.0.1"])
async def test_private_addresses_are_not_called(url: str) -> None:
    with pytest.raises(AccountUnavailable, match="a private address, and calls to these are not allowed"):
        await client_of(url, Limits(call_seconds=2)).call("GET", "x")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False),
        ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("::1", False), ("fe80::1", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False), ("::", False),
    ],
)  # fmt: skip
def test_addresses_inside_of_others_count_as_what_they_are(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://api.acme.example", "use https://"),
        ("ftp://api.acme.example", "one such as https://"),
        ("https://", "one such as https://"),
        ("https://me:secret@api.acme.example", "send them in a header"),
        ("https://api.acme.example:99999", "cannot be read"),
        ("https://api.acme.example/?a=b", "one such as https://"),
    ],
)
def test_an_address_that_may_not_be_called_is_refused_at_once(url: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as raised:
        Client(url, who="payment provider acme")
    assert "secret" not in str(raised.value)


async def test_a_certificate_that_is_not_trusted_is_refused() -> None:
    """A server that does not even speak TLS, where https was asked for."""
    patient = Limits(call_seconds=60, private_addresses=True)
    async with LocalServer(lambda asked: Reply.of({"id": "x"})) as server:
        with pytest.raises(AccountUnavailable, match="cannot be reached"):
            await client_of(server.url.replace("http://", "https://"), patient).call("GET", "x")
    assert server.asked == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "999999999999"}, 86_400),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "Sun, 29 Nov 2026 05:01:30 GMT", "date": "Sun, 29 Nov 2026 05:00:00 GMT"}, 90),
        ({"retry-after": "Sun, 29 Nov 2026 04:00:00 GMT", "date": "Sun, 29 Nov 2026 05:00:00 GMT"}, 0),
        ({"retry-after": "Sunday, 29-Nov-26 05:01:30 GMT", "date": "Sun, 29 Nov 2026 05:00:00 GMT"}, 90),
        ({"retry-after": "Sun Nov 29 05:01:30 2026", "date": "Sun, 29 Nov 2026 05:00:00 GMT"}, 90),
        ({"retry-after": "Fri, 29 Nov 2199 05:00:00 GMT", "date": "Sun, 29 Nov 2026 05:00:00 GMT"}, 86_400),
        ({"retry-after": "Sat, 29 Nov 2025 05:00:00 GMT", "date": "Sun, 29 Nov 2026 05:00:00 GMT"}, 0),
        ({"retry-after": "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359", "date": "Mon, 01 Jan 0001 00:00:00 +2359"}, 86_400),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "\u0661\u0662"}, None),
        ({"retry-after": "9" * 20_000}, 86_400),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


async def test_an_answer_is_read_whatever_its_retry_after_says() -> None:
    headers = {"Retry-After": "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"}
    async with LocalServer(lambda asked: Reply(body=b'{"id": "x"}', headers=headers)) as server:
        assert await ask(server.url) == Thing("x")


async def test_errors_say_nothing_of_what_was_sent_or_answered() -> None:
    said = []
    for reply in (
        Reply(body=b"top-secret tok_1234"), Reply(status=500, body=b"tok_1234"), Reply(status=401, body=b"tok_1234"),
        Reply(body=b'{"token": "tok_1234"', cut_after=5), Reply(status=302, headers={"Location": "https://x/tok_1234"}),
    ):  # fmt: skip
        async with LocalServer(lambda asked, reply=reply: reply) as server:  # type: ignore[misc]
            with pytest.raises(Unavailable) as raised:
                (await client_of(server.url).call("POST", "tok_1234", json={"token": "tok_1234"})).json(Thing)
        said.append(str(raised.value))
    with pytest.raises(Unavailable) as raised:
        await client_of("http://127.0.0.1:9").call("GET", "x", headers={"X": "tok_1234\nY: top-secret"})
    said.append(str(raised.value))
    assert not [one for one in said if "tok_1234" in one or "top-secret" in one]


async def test_calls_run_side_by_side() -> None:
    async with LocalServer(lambda asked: Reply(body=b'{"id": "x"}', after_seconds=0.3)) as server:
        began = time.monotonic()
        await asyncio.gather(*(ask(server.url) for _ in range(20)))
        assert time.monotonic() - began < 3
