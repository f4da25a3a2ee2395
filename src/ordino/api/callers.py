"""Whether a request comes from this machine itself: from a program on it, not from a web page in its browser, not through a proxy.

Without an API key only such requests are answered. A browser lends its place to any page that it shows, and a proxy on this machine
lends it to everybody, so that the address of the connection alone says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from ordino.core.settings import BadSetting, Settings

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})
PROXY_HEADERS = frozenset(
    {
        b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-server",
        b"x-real-ip", b"x-client-ip", b"x-original-forwarded-for", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip",
        b"via",
    }
)  # fmt: skip
"""What proxies add. Where one of these is there, somebody else may be behind the connection."""
FROM_HERE = frozenset({b"same-origin", b"none"})
WILDCARDS = frozenset({"0.0.0.0", "::", ""})
Address = IPv4Address | IPv6Address


class Trust(Struct, frozen=True, kw_only=True):
    """Whom this server believes: the names by which it may be called, and the proxies that say who called them."""

    hosts: frozenset[str] = frozenset()
    only_hosts: bool = False  # of requests with a key, too
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()


def trust_of(settings: Settings) -> Trust:
    """What the settings say. Raises ``BadSetting`` for a proxy that is no address."""
    named = _words(settings.allowed_hosts)
    bound = set() if settings.host in WILDCARDS else {settings.host}
    try:
        proxies = tuple(ip_network(word, strict=False) for word in _words(settings.trusted_proxies))
    except ValueError as error:
        raise BadSetting(
            "ORDINO_TRUSTED_PROXIES",
            settings.trusted_proxies or "",
            "IP addresses or networks are expected, parted by commas",
        ) from error
    return Trust(hosts=frozenset({_plain(name) for name in {*named, *bound}}), only_hosts=bool(named), proxies=proxies)


def why_not_here(scope: Any, trust: Trust) -> str | None:
    """Why the request does not come from this machine itself; None if it does."""
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    peer = _peer(scope)
    if peer is None or not all(map(_is_loopback, _callers(peer, headers, trust))):
        return "it comes from another machine or through a proxy"
    if not _by_a_name_of_ours(peer, headers, trust):
        return "its Host is neither a loopback name nor one that ORDINO_ALLOWED_HOSTS lists"
    if not all(value.strip().lower() in FROM_HERE for value in _all(headers, b"sec-fetch-site")):
        return "a web page of another origin sent it"
    host = b"".join(_all(headers, b"host"))
    if not all(_is_origin_of(origin, host) for origin in _all(headers, b"origin")):
        return "a web page of another origin sent it"
    return None


def may_be_called(scope: Any, trust: Trust) -> bool:
    """Is this server called by a name that is allowed? Without ``ORDINO_ALLOWED_HOSTS``, a request with a key may use any."""
    return not trust.only_hosts or _by_a_name_of_ours(_peer(scope), scope["headers"], trust)


def _peer(scope: Any) -> Address | None:
    """The other end of the connection."""
    return _address((scope.get("client") or ("",))[0])


def _callers(peer: Address, headers: Sequence[tuple[bytes, bytes]], trust: Trust) -> list[Address | None]:
    """Who may be behind the connection: the peer, or what a proxy that is trusted says, once for each way to say it. None is
    somebody who is not known.
    """
    present = {name for name, _ in headers} & PROXY_HEADERS
    if not _trusted(peer, trust):
        return [None] if present else [peer]
    said = [_behind(_list(headers, b"x-forwarded-for"), trust)] if b"x-forwarded-for" in present else []
    if b"forwarded" in present:
        said.append(_behind([_for(element) for element in _list(headers, b"forwarded")], trust))
    return said or [None]


def _behind(chain: Sequence[str], trust: Trust) -> Address | None:
    """The last address before the proxies that are trusted; the first of all if every one of them is."""
    address = None
    for text in reversed(chain):
        address = _address(_without_port(text))
        if address is None or not _trusted(address, trust):
            break
    return address


def _by_a_name_of_ours(peer: Address | None, headers: Sequence[tuple[bytes, bytes]], trust: Trust) -> bool:
    return all(name in trust.hosts or _names_loopback(name) for name in _hosts(peer, headers, trust))


def _hosts(peer: Address | None, headers: Sequence[tuple[bytes, bytes]], trust: Trust) -> list[str]:
    """The names by which the server is called. No name is a name, too, which nobody allows."""
    names = _all(headers, b"host")
    if peer is not None and _trusted(peer, trust):
        names = [one.encode() for one in _list(headers, b"x-forwarded-host")] or names
    return [_plain(_without_port(name.decode("latin-1"))) for name in names] if len(names) == 1 else [""]


def _is_origin_of(origin: bytes, host: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("latin-1"))
    except ValueError:
        return False  # no origin at all
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.decode("latin-1").lower()


def _is_loopback(address: Address | None) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address is not None and address.is_loopback


def _names_loopback(name: str) -> bool:
    return name in LOOPBACK_NAMES or _is_loopback(_address(name))


def _trusted(address: Address, trust: Trust) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in trust.proxies)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _for(element: str) -> str:
    """The ``for`` of one element of a Forwarded header (RFC 7239)."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip().strip('"')
    return ""


def _without_port(host: str) -> str:
    host = host.strip()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _plain(name: str) -> str:
    return name.strip().strip("[]").rstrip(".").lower()


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for one, value in headers if one == name]


def _list(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """The parts of a header that is a list, however many lines it has."""
    return [part.strip() for value in _all(headers, name) for part in value.decode("latin-1").split(",")]


def _words(setting: str | None) -> list[str]:
    return [word.strip() for word in (setting or "").split(",") if word.strip()]
