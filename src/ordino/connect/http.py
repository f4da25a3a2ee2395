"""HTTP for adapters: one client that makes each failure the right error, and lets nothing in that is too large, too late or too
near.

| what happens | what is raised |
|---|---|
| the host is not found, does not listen, or its certificate is wrong | ``AccountUnavailable`` |
| 401, 403, 407, a redirect | ``AccountUnavailable`` |
| 429, 503 | ``AccountUnavailable``, with what ``Retry-After`` says |
| 408, 425 | ``Unavailable``: it was not done |
| 500 and every other 5xx | ``AnswerLost``: it may have been done |
| the connection is cut, or the time is up, after the request was sent | ``AnswerLost`` |
| the answer is too large, compressed, or no HTTP; ``Answer.json`` finds no JSON or another shape | ``AnswerLost`` |

Everything else, 2xx and the other 4xx, is an ``Answer`` for the adapter to read. Nothing is tried again here: whoever calls the
adapter does that, with the same key. Errors name the host, and never what was sent or answered.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import msgspec
from msgspec import Struct

from ordino.core.clock import WallClock
from ordino.core.errors import AccountUnavailable, AnswerLost, Invalid, Refused, Unavailable
from ordino.core.failures import MAY_HAVE_BEEN_DONE as MAYBE

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
CONNECT_SECONDS = 5.0
CALL_SECONDS = 20.0
"""Less than the time limit of a call, so that what went wrong can still be said."""
MOST_BYTES = 1_000_000
LONGEST_WAIT_SECONDS = 86_400.0
CREDENTIALS = frozenset({401, 403, 407})
NOT_DONE = frozenset({408, 425})
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Limits(Struct, frozen=True, kw_only=True):
    """How long a call may take, and how large its answer may be. With ``private_addresses``, the host may be in a private
    network or on this machine, and need not speak TLS.
    """

    connect_seconds: float = CONNECT_SECONDS
    call_seconds: float = CALL_SECONDS
    most_bytes: int = MOST_BYTES
    private_addresses: bool = False


class Answer(Struct, frozen=True, kw_only=True):
    """What came back. ``who`` is who answered, for error texts."""

    who: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Is it a 2xx?"""
        return 200 <= self.status < 300

    def json(self, kind: type[T]) -> T:
        """The body as JSON of this shape. Raises ``AnswerLost``: what cannot be read may have been a yes."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            wrong = (
                "another shape of JSON" if isinstance(error, msgspec.ValidationError) else "something that is not JSON"
            )
            raise AnswerLost(f"The {self.who} answered {self.status} with {wrong}. {MAYBE}") from None


class Client:
    """A client for one host. ``who`` names it in errors: "payment provider acme".

    Raises ``Invalid`` for an address that it may not call.
    """

    def __init__(
        self, base_url: str, *, who: str, headers: Mapping[str, str] | None = None, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._base = _checked(base_url, who, self.limits)
        self.who = f"{who} at {self._base.hostname}"
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        _certificates()

    async def call(
        self,
        method: str,
        *path: str,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its answer. ``path`` is given part by part: whatever a part holds, it stays one part.

        Raises the errors of the table above, and ``Refused`` for a part that leads elsewhere.
        """
        begun, where = _Begun(), "/".join(_part(part) for part in path)
        try:
            async with asyncio.timeout(self.limits.call_seconds) as limit:
                answer = await self._send(method, where, json, form, headers, begun)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._late(begun) from error
        return self._judged(answer)

    async def _send(
        self,
        method: str,
        path: str,
        json: Any,
        form: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        begun: _Begun,
    ) -> Answer:
        import httpx

        content = None if json is None else msgspec.json.encode(json)
        told = {**self._headers, "Host": self._base.netloc.rpartition("@")[2], **(headers or {})}
        if content is not None:
            told["Content-Type"] = "application/json"
        last: Exception | None = None
        for address in await self._addresses():
            try:
                async with (
                    self._client() as client,
                    client.stream(
                        method,
                        self._url(address, path),
                        content=content,
                        data=None if form is None else dict(form),
                        headers=told,
                        extensions={"sni_hostname": self._base.hostname, "trace": begun.note},
                    ) as response,
                ):
                    return await self._whole(response)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._broken(error, begun) from error
        raise AccountUnavailable(
            f"The {self.who} cannot be reached: {_said(last)}. Check that it is there, and its address."
        ) from last

    async def _whole(self, response: httpx.Response) -> Answer:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise AnswerLost(
                f"The {self.who} answered {response.status_code} in a compressed form, which was not asked for. {MAYBE}"
            )
        parts, size = [], 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > self.limits.most_bytes:
                raise AnswerLost(
                    f"The {self.who} answered {response.status_code} with more than {self.limits.most_bytes} bytes. {MAYBE}"
                )
            parts.append(part)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(who=self.who, status=response.status_code, headers=headers, body=b"".join(parts))

    def _judged(self, answer: Answer) -> Answer:
        status, wait = answer.status, retry_after_seconds(answer.headers)
        if status in CREDENTIALS:
            raise AccountUnavailable(f"The {self.who} answered {status}: it refuses our credentials. Check them.", wait)
        if status == 429:
            raise AccountUnavailable(
                f"The {self.who} answered 429: it was called too often, and asks for a pause.", wait
            )
        if status == 503:
            raise AccountUnavailable(f"The {self.who} answered 503: it is away for now.", wait)
        if status in NOT_DONE:
            raise Unavailable(f"The {self.who} answered {status}: it has not taken the request.", wait)
        if status >= 500:
            raise AnswerLost(f"The {self.who} answered {status}, a failure of its own. {MAYBE}", wait)
        if 300 <= status < 400:
            raise AccountUnavailable(
                f"The {self.who} answered {status}, a redirect, and redirects are not followed. Set the address that it moved to."
            )
        return answer

    def _late(self, begun: _Begun) -> Unavailable:
        within = f"within {self.limits.call_seconds:g} seconds"
        if begun.sent:
            return AnswerLost(f"The {self.who} did not answer {within}. {MAYBE}")
        return AccountUnavailable(
            f"The {self.who} could not be reached {within}. Check that it is there, and its address."
        )

    def _broken(self, error: Exception, begun: _Begun) -> Unavailable:
        if begun.sent:
            return AnswerLost(
                f"The connection to the {self.who} broke before its answer was whole ({type(error).__name__}). {MAYBE}"
            )
        return AccountUnavailable(
            f"The {self.who} cannot be reached ({type(error).__name__}). Check that it is there, and its address."
        )

    async def _addresses(self) -> list[IPAddress]:
        """Where the host is, now. Nobody can lead a call elsewhere between this look and the call: the address itself is called."""
        host, port = self._base.hostname or "", _port(self._base)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise AccountUnavailable(f"The {self.who} cannot be found: {_said(error)}. Check its address.") from error
        addresses = list(dict.fromkeys(ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found))
        if not self.limits.private_addresses and (near := [one for one in addresses if not is_public(one)]):
            raise AccountUnavailable(
                f"The {self.who} is at {near[0]}, a private address, and calls to these are not allowed. Check its address."
            )
        return addresses

    def _url(self, address: IPAddress, path: str) -> str:
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self._base.scheme}://{host}:{_port(self._base)}{self._base.path.rstrip('/')}/{path}"

    def _client(self) -> httpx.AsyncClient:
        """One for each call: an answer that comes twice, or too late, is never taken for that of the next call."""
        import httpx

        timeout = httpx.Timeout(self.limits.call_seconds, connect=self.limits.connect_seconds)
        return httpx.AsyncClient(verify=_certificates(), timeout=timeout, follow_redirects=False, trust_env=False)


def _part(part: str) -> str:
    if part in ("", ".", ".."):
        raise Refused(
            f"{part!r} cannot be a part of a path, and so nothing was asked. Correct the reference that it comes from."
        )
    return quote(part, safe="")


@cache
def _certificates() -> ssl.SSLContext:
    """Importing the library and reading certificates takes longer than a call: it is done once, when the first client is made."""
    import httpx

    return httpx.create_ssl_context()


class _Begun:
    """Has the request begun to leave? Before that, nothing can have been done."""

    def __init__(self) -> None:
        self.sent = False

    async def note(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.sent = True


def is_public(address: IPAddress) -> bool:
    """May anybody on the internet have this address? Addresses of version 4 inside of others count as what they are."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What ``Retry-After`` asks for: seconds, or an instant of the sender's clock. At most a day; None if it says nothing."""
    said = headers.get("retry-after", "").strip()
    if not said:
        return None
    if said.isascii() and said.isdigit():
        return float(min(int(said[:9]), LONGEST_WAIT_SECONDS))
    until = _date(said)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or WallClock().now()
    return min(LONGEST_WAIT_SECONDS, max(0.0, (until - now).total_seconds()))


def _date(said: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(said)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)  # HTTP knows no other zone


def _checked(base_url: str, who: str, limits: Limits) -> SplitResult:
    """The address of a host. Raises ``Invalid``."""
    try:
        parts = urlsplit(base_url)
        _port(parts)
    except ValueError as error:
        raise Invalid(f"The address of the {who} cannot be read: {error}.") from error
    if not parts.hostname or parts.scheme not in ("https", "http") or parts.query or parts.fragment:
        raise Invalid(f"The address of the {who} is one such as https://api.example.com/v1.")
    if parts.username or parts.password:
        raise Invalid(f"The address of the {who} holds a user or password; send them in a header.")
    if parts.scheme == "http" and not limits.private_addresses:
        raise Invalid(f"The address of the {who} begins with http://, which anybody on the way can read; use https://.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _said(error: BaseException | None) -> str:
    """What went wrong, in the system's words. They name hosts, and nothing that was sent."""
    return (str(error) or type(error).__name__).rstrip(".") if error is not None else "it has no address"
