"""Versions of routing profiles: drafted, activated, retired, tried as shadows; and which of the active ones an order falls to."""

from __future__ import annotations

import logging
from copy import copy
from datetime import datetime
from hashlib import blake2b

from msgspec import Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import Conflict, Invalid, NotFound
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, facts
from ordino.sourcing.document import Vocabulary, packaged, parse
from ordino.sourcing.model import Request
from ordino.sourcing.profile import Profile

sql = statements("ordino.sourcing")
log = logging.getLogger("ordino.sourcing")
LAST_VERSION = 2**31 - 1
MOST_SHADOWS = 3
MEMO_LIMIT = 100_000


class ProfileHead(Struct, frozen=True):
    """One version in a list."""

    version: int
    name: str
    active: bool
    shadow: bool
    created_at: datetime
    activated_at: datetime | None


class ProfileView(Struct, frozen=True):
    """One version, as written. Version 0 comes with Ordino, and decides where no active one is for the order."""

    version: int
    name: str
    document: str
    active: bool
    shadow: bool
    created_at: datetime | None
    activated_at: datetime | None


class Profiles:
    """What decides now. The most specific active profile that is for an order decides it."""

    def __init__(self, active: list[Profile], shadows: list[Profile]) -> None:
        self.active = sorted(active, key=lambda profile: (-profile.scope.weight, profile.name))
        self.shadows = tuple(shadows)
        self.backlog_days = max((profile.backlog_days for profile in (*active, *shadows)), default=0)
        self.looks_ahead = any(profile.looks_ahead for profile in (*active, *shadows))
        self._packaged = parse(packaged())
        self._places = any(profile.scope.destinations for profile in active)
        self._memo: dict[tuple[str, str, str, str, str], Profile] = {}

    def apart(self) -> Profiles:
        """The same profiles for another thread: what it remembers is its own."""
        profiles = copy(self)
        profiles._memo = {}
        return profiles

    def for_request(self, request: Request) -> Profile:
        """The profile that decides an order."""
        if not self.active:
            return self._packaged
        place = (request.country, request.postal_code) if self._places else ("", "")
        key = (request.channel, request.seller, request.order_type, *place)
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            found = self._memo[key] = next((p for p in self.active if p.scope.fits(*key)), self._packaged)
        return found


async def profiles(tx: Tx) -> Profiles:
    """As this transaction sees them."""
    return await kept.current(tx, "profiles", _load)


async def _load(tx: Tx) -> Profiles:
    """A document that this version of Ordino no longer accepts decides nothing, and stops no order."""
    active: list[Profile] = []
    shadows: list[Profile] = []
    for row in await sql.live_profiles(tx):
        try:
            read = parse(row["document"], version=row["version"])
        except Invalid as error:
            log.error("version %s of the routing profile %s decides nothing: %s", row["version"], row["name"], error)
            continue
        if row["active"]:
            active.append(read)
        if row["shadow"]:
            shadows.append(read)
    return Profiles(active, shadows)


_BY_VERSION: dict[tuple[int, bytes], Profile] = {}


async def by_version(tx: Tx, version: int) -> Profile:
    """A version as it is obeyed; 0 comes with Ordino. Raises ``NotFound``."""
    document = (await profile(tx, version)).document
    key = (version, blake2b(document.encode(), digest_size=16).digest())
    if key not in _BY_VERSION:
        if len(_BY_VERSION) >= 256:
            _BY_VERSION.clear()
        _BY_VERSION[key] = parse(document, version=version)
    return _BY_VERSION[key]


async def profile(tx: Tx, version: int) -> ProfileView:
    """A version as written. Raises ``NotFound``."""
    if version == 0:
        return ProfileView(0, parse(packaged()).name, packaged(), False, False, None, None)
    rows = await sql.profile(tx, version=version) if 0 < version <= LAST_VERSION else []
    if not rows:
        raise NotFound(f"There is no version {version} of a routing profile.")
    return ProfileView(**rows[0])


async def heads(tx: Tx) -> list[ProfileHead]:
    """Every version, newest first."""
    return [ProfileHead(**row) for row in await sql.profiles(tx)]


async def vocabulary(tx: Tx) -> Vocabulary:
    """The codes that there are."""
    codes: dict[str, set[str]] = {"location": set(), "tag": set(), "channel": set(), "seller": set()}
    for row in await sql.vocabulary(tx):
        codes[row["kind"]].add(row["code"])
    return Vocabulary(*(frozenset(of) for of in codes.values()))


async def check(tx: Tx, document: str) -> Profile:
    """Raises ``Invalid`` with every fault and its line."""
    return parse(document, await vocabulary(tx))


async def draft(tx: Tx, document: str, *, at: datetime) -> int:
    """Check a document and keep it under a new version. Raises ``Invalid`` with every fault and its line."""
    checked = await check(tx, document)
    await kept.hold(tx, "profiles")
    [row] = await sql.draft_profile(tx, name=checked.name, document=document, at=at)
    version: int = row["version"]
    return version


async def activate(tx: Tx, version: int, *, at: datetime, if_match: str | None = None) -> None:
    """Decide by this version, in place of the one of its name that is active; an older version rolls back.

    Raises ``NotFound``; ``Invalid`` if it speaks of what is no longer there; ``Conflict`` (412) if what is active is not what the
    caller has seen, and ``Conflict`` if another active profile is for exactly the same orders, or if no exchange rate is known
    from the profile's currency into that of a channel that it is for.
    """
    if version == 0:
        raise Invalid("Version 0 decides wherever no active profile does; retire the profiles that are in its way.")
    await kept.hold(tx, "profiles")
    checked = await check(tx, (await profile(tx, version)).document)
    if if_match is not None and if_match not in ("*", await etag(tx)):
        gone = Conflict("Other profiles are active than you have seen; read them again.", code="precondition_failed")
        gone.status = 412
        raise gone
    for other in (await _load(tx)).active:
        if other.name != checked.name and other.scope == checked.scope:
            raise Conflict(
                f"{other.name!r}, version {other.version}, is active for exactly the same orders; retire it, or say in `for` "
                "whose orders each of the two is for.",
                code="same_scope",
            )
    _priced(checked, await facts(tx), at)
    await sql.retire_profile(tx, name=checked.name)
    await sql.activate_profile(tx, version=version, at=at)
    await kept.changed(tx, "profiles")


def _priced(profile: Profile, network: NetworkFacts, at: datetime) -> None:
    """Raises ``Conflict`` if the profile's money cannot be converted for a channel that it is for."""
    if profile.currency is None or not any(strategy.cost.has_money for strategy in profile.strategies):
        return
    scope = profile.scope
    for code, channel in sorted(network.channels.items()):
        asked = channel.network is not None and (not scope.channels or code in scope.channels)
        asked = asked and (not scope.sellers or channel.seller in scope.sellers)
        if asked and network.rates.rate(profile.currency, channel.currency, at) is None:
            pair = f"from {profile.currency} to {channel.currency}"
            raise Conflict(
                f"The profile's money is in {profile.currency}, and the channel {code!r} sells in {channel.currency}, but there "
                f"is no exchange rate {pair} for today. Load one with PUT /v1/exchange_rates first.",
                code="no_exchange_rate",
            )


async def retire(tx: Tx, name: str) -> int:
    """No version of this name decides any more. Returns the one that did. Raises ``NotFound``."""
    await kept.hold(tx, "profiles")
    rows = await sql.retire_profile(tx, name=name)
    if not rows:
        raise NotFound(f"No version of a routing profile {name!r} is active.")
    await kept.changed(tx, "profiles")
    version: int = rows[0]["version"]
    return version


async def shadow(tx: Tx, version: int, *, on: bool) -> None:
    """A version begins (or ends) to decide beside the active ones. Raises ``NotFound``, ``Conflict`` if there are too many."""
    await kept.hold(tx, "profiles")
    if not 0 < version <= LAST_VERSION or not await sql.shadow_profile(tx, version=version, on=on):
        raise NotFound(f"There is no version {version} of a routing profile to be tried.")
    if on and len((await _load(tx)).shadows) > MOST_SHADOWS:
        raise Conflict(f"At most {MOST_SHADOWS} profiles are tried at once; end one first.", code="too_many_shadows")
    await kept.changed(tx, "profiles")


async def etag(tx: Tx) -> str:
    """Changes whenever what is active does."""
    active = ",".join(str(head.version) for head in await heads(tx) if head.active)
    return f'"{blake2b(active.encode(), digest_size=8).hexdigest()}"'
