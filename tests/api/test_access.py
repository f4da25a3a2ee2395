"""Who may call while there is no API key, and that the door never opens by itself again once there was one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from httpx import AsyncClient
from litestar import Litestar

from ordino.api.access import KEPT_SECONDS
from ordino.api.callers import trust_of, why_not_here
from ordino.api.server import NoKey, refuse_open_door
from ordino.core import keys
from ordino.core.database import Database
from ordino.core.settings import BadSetting, Settings
from steps import application, calling

PATHS = [
    ("GET", "/v1/skus"),
    ("GET", "/v1/availability/sku-1?channel=refuse"),
    ("POST", "/v1/orders"),
    ("POST", "/v1/flows"),
    ("POST", "/v1/counts"),
    ("GET", "/v1/kpis"),
    ("GET", "/v1/dead_letters"),
    ("GET", "/schema"),
    ("GET", "/schema/openapi.json"),
    ("GET", "/schema/assets/swagger-ui.css"),
]
FEW = PATHS[:4]
OUTSIDE: dict[str, dict[str, str]] = {
    "a name that leads here, its page": {
        "Host": "evil.example",
        "Origin": "http://evil.example",
        "Sec-Fetch-Site": "same-origin",
    },
    "a name that leads here": {"Host": "evil.example:8000"},
    "a name that begins like ours": {"Host": "localhost.evil.example"},
    "no name": {"Host": ""},
    "a page of elsewhere without an origin": {"Sec-Fetch-Site": "cross-site"},
    "an origin that is no address": {"Host": "localhost:8000", "Origin": "http://[::1"},
    "a page of another port": {"Sec-Fetch-Site": "same-site"},
    "a page of elsewhere": {"Origin": "https://evil.example"},
    "a page of nowhere": {"Origin": "null"},
    "a page of no origin that can be read": {"Origin": "http://[::1"},
    "a page of an origin with two ports": {"Origin": "http://localhost:8000:1]"},
    "a proxy": {"X-Forwarded-For": "203.0.113.9"},
    "a proxy that says this machine": {"X-Forwarded-For": "127.0.0.1"},
    "a proxy by the standard": {"Forwarded": "for=127.0.0.1;host=localhost"},
    "a proxy that names the host": {"X-Forwarded-Host": "localhost"},
    "a proxy that names the scheme": {"X-Forwarded-Proto": "https"},
    "a proxy that names the address": {"X-Real-IP": "127.0.0.1"},
    "a proxy that names itself": {"Via": "1.1 proxy"},
}
INSIDE: dict[str, dict[str, str]] = {
    "a program": {},
    "by its address": {"Host": "127.0.0.1:8000"},
    "by its other address": {"Host": "[::1]:8000"},
    "by its name in capitals": {"Host": "LocalHost.:8000"},
    "its own page": {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"},
    "typed into the browser": {"Sec-Fetch-Site": "none"},
}


def served(url: str, **settings: Any) -> Litestar:
    return application(url, Settings(**settings))


async def asked(client: AsyncClient, headers: dict[str, str], paths: Sequence[tuple[str, str]] = FEW) -> set[int]:
    return {(await client.request(method, path, headers=headers)).status_code for method, path in paths}


async def test_without_a_key_only_programs_on_this_machine_are_answered(keyless: str) -> None:
    async with calling(served(keyless)) as client:
        for who, headers in OUTSIDE.items():
            assert await asked(client, headers) == {403}, who
            assert (await client.get("/health", headers=headers)).status_code == 200
        assert await asked(client, {"Host": "evil.example"}, PATHS) == {403}
        assert 403 not in await asked(client, {}, PATHS)
        for who, headers in INSIDE.items():
            assert 403 not in await asked(client, headers), who
    async with calling(served(keyless), "203.0.113.9") as client:
        assert await asked(client, {}) == {403}


async def test_a_proxy_that_is_trusted_says_who_calls(keyless: str) -> None:
    settings = {"trusted_proxies": "127.0.0.1, 10.0.0.0/8", "allowed_hosts": "oms.example"}
    async with calling(served(keyless, **settings)) as client:
        for chain in (
            "203.0.113.9",
            "127.0.0.1, 203.0.113.9",
            "127.0.0.1, 203.0.113.9, 10.1.2.3",
            "nonsense",
            "127.0.0.1, unknown",
        ):
            assert await asked(client, {"X-Forwarded-For": chain}) == {403}, chain
            assert await asked(client, {"Forwarded": f'for="{chain.rsplit(", ")[-1]}"'}) == {403}, chain
        assert await asked(client, {}) == {403}  # it does not say for whom
        assert await asked(client, {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=203.0.113.9"}) == {403}
        assert await asked(client, {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example"}) == {403}
        for headers in (
            {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": "::1, 10.1.2.3"}, {"Forwarded": 'for="[::1]:5555", for=10.1.2.3'},
            {"X-Forwarded-For": "::ffff:127.0.0.1", "X-Forwarded-Host": "oms.example"},
        ):  # fmt: skip
            assert 403 not in await asked(client, headers), headers


async def test_names_of_the_server_can_be_set_and_then_hold_for_everybody(keyless: str) -> None:
    async with calling(served(keyless, host="192.0.2.7", allowed_hosts="OMS.example, oms")) as client:
        for host in ("oms.example:443", "oms", "192.0.2.7", "localhost"):
            assert 403 not in await asked(client, {"Host": host}), host
        async with await Database.open(keyless) as database:
            _, token = await database.transact(lambda tx: keys.make(tx, "k", ["admin"], at=database.clock.now()))
        key = {"Authorization": f"Bearer {token}"}
        assert await asked(client, {**key, "Host": "evil.example"}) == {403}
        assert 403 not in await asked(client, {**key, "Host": "oms.example"})
    async with calling(served(keyless)) as client:  # without names, a key is enough
        assert 403 not in await asked(client, {**key, "Host": "anything.example", "X-Forwarded-For": "203.0.113.9"})


async def test_once_there_was_a_key_the_door_never_opens_by_itself_again(keyless: str) -> None:
    async with await Database.open(keyless) as database, calling(served(keyless)) as client:
        at = database.clock.now()
        assert 401 not in await asked(client, {})
        key_id, token = await database.transact(lambda tx: keys.make(tx, "k", ["admin"], at=at))
        await asyncio.sleep(KEPT_SECONDS + 0.1)
        assert await asked(client, {}, PATHS) == {401}
        await database.transact(lambda tx: keys.revoke(tx, key_id, at=at))
        await asyncio.sleep(KEPT_SECONDS + 0.1)
        assert await asked(client, {}) == {401}
        assert await asked(client, {"Authorization": f"Bearer {token}"}) == {401}
        assert "`ordino keys make NAME` makes one" in (await client.get("/v1/skus")).json()["detail"]
        async with calling(served(keyless)) as restarted:
            assert await asked(restarted, {}) == {401}
        _, other = await database.transact(lambda tx: keys.make(tx, "after all were lost", ["admin"], at=at))
        assert 401 not in await asked(client, {"Authorization": f"Bearer {other}"})


async def test_making_and_revoking_keys_at_once_leaves_no_moment_in_which_the_door_is_open(keyless: str) -> None:
    async with await Database.open(keyless) as database, calling(served(keyless)) as client:
        await database.transact(lambda tx: keys.make(tx, "first", ["read"], at=database.clock.now()))

        async def come_and_go() -> None:
            for _ in range(10):
                at = database.clock.now()
                key_id, _token = await database.transact(lambda tx, at=at: keys.make(tx, "k", ["admin"], at=at))  # type: ignore[misc]
                await database.transact(lambda tx, id=key_id, at=at: keys.revoke(tx, id, at=at))  # type: ignore[misc]

        rounds = [asyncio.create_task(come_and_go()) for _ in range(3)]
        answers = set()
        while not all(one.done() for one in rounds):
            answers.add((await client.get("/v1/skus")).status_code)
            await asyncio.sleep(0)  # a refusal waits for nothing, and would leave the others no turn
        await asyncio.gather(*rounds)
        assert answers == {401}


async def test_an_open_address_is_refused_until_there_was_a_key(keyless: str) -> None:
    async with await Database.open(keyless) as database:
        with pytest.raises(NoKey, match="ordino keys make"):
            await refuse_open_door(database, Settings(host="0.0.0.0"))
        await database.transact(lambda tx: keys.make(tx, "k", ["read"], at=database.clock.now()))
        await refuse_open_door(database, Settings(host="0.0.0.0"))


def test_a_proxy_that_is_no_address_is_refused_at_start() -> None:
    with pytest.raises(BadSetting, match="ORDINO_TRUSTED_PROXIES"):
        trust_of(Settings(trusted_proxies="10.0.0.0/8,proxy.example"))


@pytest.mark.parametrize("client", [None, ("", 0), ("not an address", 1), ("203.0.113.1", 1), ("fe80::1%eth0", 1)])
def test_who_is_not_known_is_not_this_machine(client: Any) -> None:
    scope = {"client": client, "headers": [(b"host", b"localhost")]}
    assert why_not_here(scope, trust_of(Settings())) is not None


@pytest.mark.parametrize("client", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_this_machine(client: str) -> None:
    scope = {"client": (client, 1), "headers": [(b"host", b"localhost")]}
    assert why_not_here(scope, trust_of(Settings())) is None
    scope["headers"] = [(b"host", b"localhost"), (b"host", b"localhost")]
    assert why_not_here(scope, trust_of(Settings())) is not None
