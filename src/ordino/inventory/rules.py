"""Rules over stock: buffers, what is kept for channels, and what counts as low.

A rule names any of network, channel, location type, location, category and SKU, and holds wherever all that it names is so. Of
the rules of a kind that fit a position, the most specific one holds: one about a SKU before one about a category, then
location, location type, channel, network; each of these outweighs all that come after it together. The buffer that a
network has for a member is such a rule (network and location), unless it is 0.

RUL-1  No two rules of a kind are about exactly the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.core import kept
from ordino.core.codes import Code, Label
from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound
from ordino.core.statements import statements
from ordino.core.upserts import NotUpserted, Outcome, Reason, in_rounds, outcome, wrote
from ordino.network.facts import Location, Serving, facts
from ordino.network.model import LocationType

sql = statements("ordino.inventory")
MAX_UNITS = 10**12
HUNDREDTHS = 10_000  # of a percent in the whole


class RuleKind(StrEnum):
    BUFFER = "buffer"  # withheld from promising
    ALLOCATION = "allocation"  # kept for a channel: the others may not have it
    LOW_STOCK = "low_stock"  # available at or below this is low


# -- as rules are sent -------------------------------------------------------------------------------------------------


class _Scope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: Code
    network: Code | None = None
    location_type: LocationType | None = None
    location: Code | None = None
    category: Label | None = None
    sku: Code | None = None
    units: Annotated[int, Meta(ge=0, le=MAX_UNITS)] | None = None
    percent: (
        Annotated[float, Meta(ge=0, le=100, description="Of what is on hand; two decimals, rounded up.")] | None
    ) = None


class Buffer(_Scope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units (or a share of what is on hand) of each position, withheld from promising to ``channel``, or to all."""

    channel: Code | None = None


class Allocation(_Scope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to so many units of each position (or a share of what is on hand) are kept for a channel: what it has reserved there
    counts towards them, and the other channels may have the rest.
    """

    channel: Code


class LowStock(_Scope, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When no more than so many units of a SKU are available in a network, it is low. Locations play no part in this kind."""


AnyRule = Buffer | Allocation | LowStock
Rule_ = TypeVar("Rule_", Buffer, Allocation, LowStock)
KIND_OF: dict[type[Any], RuleKind] = {
    Buffer: RuleKind.BUFFER,
    Allocation: RuleKind.ALLOCATION,
    LowStock: RuleKind.LOW_STOCK,
}


async def _upsert(kind: RuleKind, tx: Tx, rules: Sequence[AnyRule], *, at: datetime) -> list[Outcome]:
    """Rules hold from the commit on. Rules take turns, so that no two come to say the same (RUL-1)."""
    if not rules:
        return []
    await kept.hold(tx, "rules")
    network = await facts(tx)
    networks = {serving.code: serving.network_id for serving in network.networks.values()}
    channels = {code: channel.channel_id for code, channel in network.channels.items()}
    skus = await sku_ids(tx, [rule.sku for rule in rules if rule.sku is not None])
    known: tuple[tuple[str, Mapping[str, int]], ...] = (
        ("network", networks), ("channel", channels), ("location", network.location_ids), ("sku", skus),
    )  # fmt: skip

    async def one(rule: AnyRule) -> Outcome:
        keys: dict[str, Any] = {}
        for name, ids in known:
            code = getattr(rule, name, None)
            if code is not None and code not in ids:
                detail = f"There is no {name} {code!r}; create it first."
                return NotUpserted(rule.code, Reason.UNKNOWN, detail, f"/{name}")
            keys[f"{name}_id"] = None if code is None else ids[code]
        scope = {**keys, "location_type": rule.location_type, "category": rule.category}
        if same := await sql.same_scope(tx, kind=kind, code=rule.code, **scope):
            detail = f"The rule {same[0]['code']!r} is about exactly the same; change that one, or delete it first."
            return NotUpserted(rule.code, Reason.CONFLICT, detail)
        hundredths = None if rule.percent is None else round(rule.percent * 100)
        written = await sql.write_rule(tx, kind=kind, code=rule.code, units=rule.units, hundredths=hundredths, **scope)
        return outcome(rule.code, new=bool(written) and written[0]["new"], written=bool(written))

    async def apply(batch: Sequence[AnyRule]) -> list[Outcome]:
        return [await one(rule) for rule in batch]

    outcomes = await in_rounds(rules, code=lambda rule: rule.code, fault=_fault, apply=apply)
    if wrote(outcomes):
        await _changed(tx)
    return outcomes


def _fault(rule: AnyRule) -> Fault | None:
    if (rule.units is None) == (rule.percent is None):
        return Fault("/units", "Say how much by `units` or by `percent`, one of the two.")
    if isinstance(rule, LowStock) and (rule.location is not None or rule.location_type is not None):
        return Fault("/location", "What is low is told for whole networks; name a network, a category or a SKU.")
    if isinstance(rule, LowStock) and rule.percent is not None:
        return Fault("/percent", "What is low is told in units.")
    return None


upsert_buffers = partial(_upsert, RuleKind.BUFFER)
upsert_allocations = partial(_upsert, RuleKind.ALLOCATION)
upsert_low_stock = partial(_upsert, RuleKind.LOW_STOCK)


async def rules_by_code(type_: type[Rule_], tx: Tx, codes: Sequence[str]) -> list[Rule_]:
    """As they were sent."""
    found = []
    for row in await sql.rules(tx, kind=KIND_OF[type_], codes=list(codes)):
        fields = {name: row[name] for name in type_.__struct_fields__ if name not in ("percent", "location_type")}
        percent = None if row["hundredths"] is None else row["hundredths"] / 100
        place = None if row["location_type"] is None else LocationType(row["location_type"])
        found.append(type_(**fields, percent=percent, location_type=place))
    return found


async def rules_after(type_: type[Rule_], tx: Tx, after: str, limit: int) -> list[Rule_]:
    """One page in order of codes."""
    rows = await sql.rule_codes_after(tx, kind=KIND_OF[type_], after=after, limit=limit)
    return await rules_by_code(type_, tx, [row["code"] for row in rows])


class Dropped(Struct, frozen=True):
    """The rule no longer holds."""

    code: str


async def drop(tx: Tx, kind: RuleKind, code: str) -> Dropped:
    """Raises ``NotFound``."""
    await kept.hold(tx, "rules")
    if not await sql.drop_rule(tx, kind=kind, code=code):
        raise NotFound(f"There is no rule {code!r} of this kind.")
    await _changed(tx)
    return Dropped(code)


async def _changed(tx: Tx) -> None:
    await kept.changed(tx, "rules")
    await kept.changed(tx, "promises")


# -- as rules are asked ------------------------------------------------------------------------------------------------


class Rule(Struct, frozen=True, gc=False):
    """A rule by its keys."""

    kind: str
    code: str
    network_id: int | None
    channel_id: int | None
    location_type: str | None
    location_id: int | None
    category: str | None
    sku_id: int | None
    units: int | None
    hundredths: int | None

    @property
    def weight(self) -> int:
        """How specific it is."""
        named = (self.sku_id, self.category, self.location_id, self.location_type, self.channel_id, self.network_id)
        return sum(32 >> place for place, key in enumerate(named) if key is not None)

    def of(self, on_hand: int) -> int:
        """Units, of a position with so many on hand."""
        if self.units is not None:
            return self.units
        assert self.hundredths is not None, "a rule names units or a share"
        return -(-on_hand * self.hundredths // HUNDREDTHS)


MEMBER = 8 + 1
"""The weight of the buffer that a network has for a member."""


class General(Struct, frozen=True):
    """The rules that are not about single SKUs, the most specific first, and of which kinds there are others."""

    rules: Mapping[str, Sequence[Rule]]
    sku_kinds: frozenset[str]

    @property
    def kinds(self) -> frozenset[str]:
        return self.sku_kinds | {kind for kind, rules in self.rules.items() if rules}


async def general(tx: Tx) -> General:
    """As this transaction sees them."""
    return await kept.current(tx, "rules", _load)


async def _load(tx: Tx) -> General:
    kinds = frozenset(row["kind"] for row in await sql.any_sku_rules(tx))
    return General(_sorted(Rule(*row) for row in await sql.general_rules(tx)), kinds)


def _sorted(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    by_kind: dict[str, list[Rule]] = {}
    for rule in sorted(rules, key=lambda rule: (-rule.weight, rule.code)):
        by_kind.setdefault(rule.kind, []).append(rule)
    return by_kind


Position = tuple[int, int]
"""(SKU id, location id)"""


class Pages(Struct, frozen=True, array_like=True):
    """What a book says, as it can be kept outside of memory."""

    general: General
    of_skus: Mapping[int, Mapping[str, Sequence[Rule]]]
    categories: Mapping[int, str]
    on_hand: Mapping[Position, int]
    reserved: Mapping[Position, Mapping[int, int]]


class Book:
    """The rules for some SKUs, with all that they need to know of them."""

    def __init__(
        self,
        general: General,
        of_skus: Mapping[int, Mapping[str, Sequence[Rule]]],
        categories: Mapping[int, str],
        on_hand: Mapping[Position, int],
        reserved: Mapping[Position, Mapping[int, int]],
    ) -> None:
        self._general = general
        self._of_skus = of_skus
        self._categories = categories
        self.on_hand = on_hand
        self._reserved = reserved
        self._found: dict[tuple[object, ...], Rule | None] = {}
        self.allocates = RuleKind.ALLOCATION in general.kinds

    @classmethod
    def of(cls, pages: Pages) -> Book:
        """The book that had these pages."""
        return cls(pages.general, pages.of_skus, pages.categories, pages.on_hand, pages.reserved)

    @property
    def pages(self) -> Pages:
        return Pages(self._general, self._of_skus, self._categories, self.on_hand, self._reserved)

    def buffer(
        self, serving: Serving, channel_id: int | None, sku_id: int, location: Location
    ) -> tuple[int, str | None]:
        """Units withheld at a member of the network, and the rule that says so."""
        own = serving.buffers[location.location_id]
        rule = self._rule(RuleKind.BUFFER, serving.network_id, channel_id, sku_id, location)
        if rule is not None and (not own or rule.weight >= MEMBER):
            return rule.of(self.on_hand.get((sku_id, location.location_id), 0)), rule.code
        return own, f"network {serving.code}" if own else None

    def kept_for_others(
        self,
        serving: Serving,
        channel_id: int | None,
        sku_id: int,
        location: Location,
        taken: Mapping[int, int] = {},
    ) -> list[tuple[int, int, str]]:
        """(channel id, units, rule) of what is kept for other channels, and ``taken`` or reserved by them only in part."""
        if not self.allocates:
            return []
        position = (sku_id, location.location_id)
        reserved = self._reserved.get(position, {})
        kept_units = []
        for other, rule in self._allocations(serving.network_id, sku_id, location).items():
            left = rule.of(self.on_hand.get(position, 0)) - reserved.get(other, 0) - taken.get(other, 0)
            if other != channel_id and left > 0:
                kept_units.append((other, left, rule.code))
        return kept_units

    def withheld(
        self,
        serving: Serving,
        channel_id: int | None,
        sku_id: int,
        location: Location,
        taken: Mapping[int, int] = {},
    ) -> int:
        """What orders of a channel may not have of a position: its buffer, and what is kept for others."""
        units = self.buffer(serving, channel_id, sku_id, location)[0]
        if self.allocates:
            units += sum(left for _, left, _ in self.kept_for_others(serving, channel_id, sku_id, location, taken))
        return units

    def low_at(self, network_id: int, sku_id: int) -> int | None:
        """When no more than so many units are available in the network, the SKU is low."""
        rule = self._rule(RuleKind.LOW_STOCK, network_id, None, sku_id, None)
        return None if rule is None else rule.units

    def _rule(
        self, kind: str, network_id: int, channel_id: int | None, sku_id: int, location: Location | None
    ) -> Rule | None:
        category = self._categories.get(sku_id)
        place = None if location is None else location.location_id
        for rule in self._of_skus.get(sku_id, {}).get(kind, ()):
            if _fits(rule, network_id, channel_id, category, location):
                return rule  # one about a SKU outweighs all others
        key = (kind, network_id, channel_id, category, place)
        if key not in self._found:
            fitting = (
                r for r in self._general.rules.get(kind, ()) if _fits(r, network_id, channel_id, category, location)
            )
            self._found[key] = next(fitting, None)
        return self._found[key]

    def _allocations(self, network_id: int, sku_id: int, location: Location) -> dict[int, Rule]:
        """Channel id -> the rule that keeps units of the position for it."""
        kind, category = RuleKind.ALLOCATION, self._categories.get(sku_id)
        found: dict[int, Rule] = {}
        for rule in (*self._of_skus.get(sku_id, {}).get(kind, ()), *self._general.rules.get(kind, ())):
            assert rule.channel_id is not None, "an allocation is for a channel"
            if rule.channel_id not in found and _fits(rule, network_id, rule.channel_id, category, location):
                found[rule.channel_id] = rule
        return found


def _fits(rule: Rule, network_id: int, channel_id: int | None, category: str | None, location: Location | None) -> bool:
    return (
        rule.network_id in (None, network_id)
        and rule.channel_id in (None, channel_id)
        and rule.category in (None, category)
        and (location is None or rule.location_id in (None, location.location_id))
        and (location is None or rule.location_type in (None, location.type))
    )


async def book(
    tx: Tx, sku_ids: Collection[int], *, kinds: Collection[RuleKind] | None = None, at: datetime | None = None
) -> Book | None:
    """The rules for these SKUs as they stand; None while there is no rule but the networks' own. With ``at``, what holds have that
    have expired by then is reserved for nobody.
    """
    found = await general(tx)
    kinds = (RuleKind.BUFFER, RuleKind.ALLOCATION) if kinds is None else kinds
    if not found.kinds.intersection(kinds):
        return None
    ids = list(sku_ids)
    of_skus: dict[int, list[Rule]] = {}
    if found.sku_kinds.intersection(kinds):
        for number, *columns in await sql.rules_of_skus(tx, sku_ids=ids):
            kept.agree(tx, "rules", number)
            rule = Rule(*columns)
            if rule.sku_id is not None:  # else there is none about these SKUs
                of_skus.setdefault(rule.sku_id, []).append(rule)
    used = [
        *(rule for rules in found.rules.values() for rule in rules),
        *(r for rules in of_skus.values() for r in rules),
    ]
    categories: dict[int, str] = {}
    if any(rule.category is not None for rule in used):
        categories = {row["sku_id"]: row["category"] for row in await sql.categories(tx, sku_ids=ids)}
    on_hand: dict[Position, int] = {}
    if any(rule.hundredths is not None for rule in used):
        rows = await sql.on_hand_of(tx, sku_ids=ids)
        on_hand = {(row["sku_id"], row["location_id"]): row["on_hand"] for row in rows}
    reserved: dict[Position, dict[int, int]] = {}
    if RuleKind.ALLOCATION in found.kinds and RuleKind.ALLOCATION in kinds:
        for row in await sql.reserved_by_channel(tx, sku_ids=ids, at=at):
            reserved.setdefault((row["sku_id"], row["location_id"]), {})[row["channel_id"]] = row["quantity"]
    return Book(found, {sku_id: _sorted(rules) for sku_id, rules in of_skus.items()}, categories, on_hand, reserved)
