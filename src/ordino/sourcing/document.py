"""A routing profile as written: YAML or JSON, checked line by line.

.. code-block:: yaml

    name: stores_after_warehouses
    for:                                   # whose orders; all, if left out
      channels: [web]
      destinations: [US, US-97]            # countries, or countries with the beginning of a postal code
    currency: USD                          # of the money below; of each order's own, if left out
    strategies:                            # the first that matches and can fill everything decides
      - name: warehouses
        when: order.total_minor >= 5000    # CEL
        fences: {location_types: [warehouse], within_km: 800, tags: {none: [outlet]}}
        cost: {split_minor: 200, late_minor: 500}
        split: by_cost                     # never, by_cost, {at_most: 2}; of what is ranked: in_rank_order, too
      - name: nearest_store
        ranked: [distance, {location_type: [store, warehouse]}, cost]
        partial: take                      # next: all or nothing; take: what it can
    fallback: most_units                   # or short
    backlog_days: 2
    most_tries: 5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from importlib.resources import files
from typing import Any

import yaml
from msgspec import Struct

from ordino.core.codes import normal, wrong_with
from ordino.core.errors import Fault, Invalid
from ordino.core.money import is_currency
from ordino.network.model import LocationType
from ordino.network.postal import destination
from ordino.sourcing.condition import FACTS, IN_ALL, SMALL, CelCondition, Wrong, budget
from ordino.sourcing.profile import (
    Cost,
    Fallback,
    Fences,
    Keep,
    Partial,
    Profile,
    Ranked,
    Rating,
    Scope,
    Strategy,
)

LONGEST = 50_000
MOST_STRATEGIES = 100
MOST_MINOR = 10**12
LISTED = frozenset({Rating.LOCATION_TYPE, Rating.LOCATION, Rating.TAG})
"""Ratings that need a list, the best first."""

Nodes = dict[str, tuple[yaml.Node, yaml.Node]]


class Vocabulary(Struct, frozen=True):
    """What there is to speak of. Without one, codes are taken as they are."""

    locations: frozenset[str]
    tags: frozenset[str]
    channels: frozenset[str]
    sellers: frozenset[str]


def packaged() -> str:
    """The profile that comes with Ordino."""
    return files("ordino.sourcing").joinpath("least_cost.yaml").read_text(encoding="utf-8")


def parse(text: str, vocabulary: Vocabulary | None = None, *, version: int = 0) -> Profile:
    """The profile, or ``Invalid`` with every fault and its line."""
    if len(text) > LONGEST or "\x00" in text:
        raise Invalid(f"A profile is YAML or JSON of at most {LONGEST} characters, without U+0000.")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _tidy(root, set())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        words = getattr(error, "problem", None) or str(error)
        said = f"Line {line}: this is not YAML: {words}."
        raise Invalid(said, faults=[Fault(f"/line/{line}", said)]) from error
    except (RecursionError, ValueError) as error:
        said = "Line 1: this cannot be read as YAML."
        raise Invalid(said, faults=[Fault("/line/1", said)]) from error
    reader = _Reader(vocabulary)
    profile = reader.profile(root, version)
    if reader.faults:
        raise Invalid("The profile is not valid: " + " ".join(f.detail for f in reader.faults), faults=reader.faults)
    return profile


def _tidy(node: yaml.Node | None, seen: set[int]) -> None:
    """Normalizes every text, as codes are wherever they come in."""
    if isinstance(node, yaml.ScalarNode):
        node.value = normal(node.value)
    elif isinstance(node, yaml.CollectionNode) and id(node) not in seen:
        seen.add(id(node))
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                _tidy(part, seen)


class _Split(Struct, frozen=True):
    """Among how many locations an order may be shared (None: any number), and whether strictly in rank order."""

    at_most: int | None = None
    in_rank_order: bool = False


_SPLITS = {"never": _Split(1), "by_cost": _Split(), "in_rank_order": _Split(in_rank_order=True)}


class _Reader:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self.vocabulary = vocabulary
        self.faults: list[Fault] = []
        self.scoped: dict[str, frozenset[str]] = {}
        """What the profile's own scope leaves of facts that conditions ask for."""
        self.steps = 0.0
        """What the conditions so far may take together on a small order."""

    def wrong(self, node: yaml.Node | None, detail: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self.faults.append(Fault(f"/line/{line}", f"Line {line}: {detail}"))

    # -- the profile -------------------------------------------------------------------------------------------------------

    def profile(self, root: yaml.Node | None, version: int) -> Profile:
        known = ("name", "for", "currency", "strategies", "fallback", "backlog_days", "most_tries")
        fields = self.mapping(root, "a profile", known)
        name = self.name(fields, root, "a profile")
        scope = self.scope(fields["for"][1]) if "for" in fields else Scope()
        self.scoped = {
            fact: names
            for fact, names in (
                ("order.channel", scope.channels),
                ("order.seller", scope.sellers),
                ("order.type", scope.order_types),
                ("destination.country", frozenset(place[:2] for place in scope.destinations)),
            )
            if names
        }
        strategies: list[Strategy] = []
        if "strategies" not in fields:
            self.wrong(root, "say under `strategies` how locations are chosen.")
        else:
            node = fields["strategies"][1]
            items = node.value if isinstance(node, yaml.SequenceNode) else []
            if not 1 <= len(items) <= MOST_STRATEGIES:
                self.wrong(node, f"`strategies` is a list of 1 to {MOST_STRATEGIES} strategies.")
            for item in items[:MOST_STRATEGIES]:
                strategies.append(self.strategy(item, strategies))
        return Profile(
            name,
            scope,
            tuple(strategies),
            self.word(fields, "fallback", Fallback, Fallback.MOST_UNITS),
            self.whole(fields, "backlog_days", 0, 60, 0),
            self.whole(fields, "most_tries", 1, 100, 5),
            version,
            self.currency(fields),
        )

    def currency(self, fields: Nodes) -> str | None:
        if "currency" not in fields:
            return None
        node = fields["currency"][1]
        if isinstance(node, yaml.ScalarNode) and is_currency(node.value):
            return str(node.value)
        self.wrong(node, "`currency` is an ISO 4217 code such as USD.")
        return None

    def scope(self, node: yaml.Node) -> Scope:
        fields = self.mapping(node, "`for`", ("channels", "sellers", "order_types", "destinations"))
        v = self.vocabulary
        channels = self.names(fields, "channels", None if v is None else v.channels)
        sellers = self.names(fields, "sellers", None if v is None else v.sellers)
        destinations = self.names(fields, "destinations", None)
        for place in sorted(destinations):
            if not (len(place) >= 2 and place[:2].isalpha() and place[:2].isupper() and place[2:3] in ("", "-")):
                self.wrong(fields["destinations"][1], f"{place!r} is no destination: write US, or US-97.")
        places = frozenset(map(destination, destinations))
        return Scope(channels, sellers, self.names(fields, "order_types", None), places)

    # -- strategies --------------------------------------------------------------------------------------------------------

    def strategy(self, node: yaml.Node, before: list[Strategy]) -> Strategy:
        known = ("name", "when", "fences", "cost", "ranked", "split", "keep_together", "partial")
        fields = self.mapping(node, "a strategy", known)
        faults = len(self.faults)
        name = self.name(fields, node, "a strategy")
        if name and any(other.name == name for other in before):
            self.wrong(fields["name"][1], f"there is a strategy {name!r} already; call this one otherwise.")
        if "cost" in fields and "ranked" in fields:
            self.wrong(fields["ranked"][0], "a strategy rates by `cost` or is `ranked`, one of the two.")
        keep = self.names(fields, "keep_together", frozenset(Keep), "lines, groups or kits")
        split = self.split(fields)
        strategy = Strategy(
            name,
            self.condition(fields),
            self.fences(fields["fences"][1]) if "fences" in fields else Fences(),
            self.ranked(fields["ranked"][1]) if "ranked" in fields else (),
            self.cost(fields["cost"][1]) if "cost" in fields else Cost(),
            split.at_most,
            frozenset(Keep(word) for word in keep if word in frozenset(Keep)),
            self.word(fields, "partial", Partial, Partial.NEXT),
            split.in_rank_order,
        )
        if len(self.faults) == faults:
            self.reachable(node, strategy, before)
        return strategy

    def reachable(self, node: yaml.Node, strategy: Strategy, before: list[Strategy]) -> None:
        """A strategy that nothing can ever come to is a mistake."""
        if isinstance(strategy.when, CelCondition) and strategy.when.constant is False:
            self.wrong(node, f"{strategy.name!r} can never match: its condition is false for every order.")
        elif isinstance(strategy.when, CelCondition) and (fact := strategy.when.impossible(self.scoped)):
            self.wrong(node, f"{strategy.name!r} can never match: no order has such a `{fact}`.")
        fences = strategy.fences
        if clash := fences.all_tags & fences.no_tag:
            self.wrong(node, f"{strategy.name!r} can never match: {min(clash)!r} is wanted and unwanted.")
        if fences.any_tag and fences.any_tag <= fences.no_tag:
            self.wrong(node, f"{strategy.name!r} can never match: every tag that it wants is unwanted, too.")
        for other in before:
            same = (other.when, other.fences) == (strategy.when, fences)
            looser = other.most_locations is None or (
                strategy.most_locations is not None
                and strategy.most_locations <= other.most_locations
                and not other.in_rank_order
            )
            if same and looser and other.keep <= strategy.keep:
                detail = (
                    f"{strategy.name!r} can never give anything that {other.name!r} could not: it has the same condition and "
                    "fences; give them to one of the two, or drop it."
                )
                self.wrong(node, detail)
                return

    def condition(self, fields: Nodes) -> CelCondition | None:
        if "when" not in fields:
            return None
        node = fields["when"][1]
        if not isinstance(node, yaml.ScalarNode):
            self.wrong(
                node, '`when` is a CEL expression, as in order.total_minor >= 5000 && destination.country == "US".'
            )
            return None
        try:
            condition = CelCondition(node.value, node.start_mark.line + 1)
        except Wrong as error:
            self.wrong(node, f"`when`: {error}")
            return None
        self.steps += condition.steps(SMALL)
        if self.steps > IN_ALL * budget(SMALL):
            self.wrong(
                node,
                f"`when`: with the conditions before it, this may take {self.steps:,.0f} steps on an order of {SMALL} lines, and "
                f"{IN_ALL * budget(SMALL):,} are allowed for a profile. Make the costly conditions simpler.",
            )
        return condition

    def fences(self, node: yaml.Node) -> Fences:
        known = (
            "location_types", "locations", "tags", "within_km", "same_country", "capacity_left", "stock_left", "keeps_promise",
        )  # fmt: skip
        fields = self.mapping(node, "`fences`", known, "fence")
        v = self.vocabulary
        types = self.names(fields, "location_types", frozenset(LocationType), ", ".join(LocationType))
        locations = self.names(fields, "locations", None if v is None else v.locations)
        tags: Nodes = {}
        if "tags" in fields:
            tags = self.mapping(fields["tags"][1], "`tags`", ("any", "all", "none"))
        all_ = None if v is None else v.tags
        return Fences(
            types,
            locations,
            self.names(tags, "any", all_),
            self.names(tags, "all", all_),
            self.names(tags, "none", all_),
            self.number(fields, "within_km", 0, 50_000, None),
            self.yes(fields, "same_country", False),
            self.whole(fields, "capacity_left", 0, 10**9, None),
            self.whole(fields, "stock_left", 0, 10**9, 0),
            self.yes(fields, "keeps_promise", False),
        )

    def ranked(self, node: yaml.Node) -> tuple[Ranked, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.wrong(node, f"`ranked` is a list of ratings: {', '.join(Rating)}.")
            return ()
        found = []
        for item in node.value:
            at, word = item, ""
            order: tuple[str, ...] = ()
            if isinstance(item, yaml.ScalarNode):
                word = item.value
            elif isinstance(item, yaml.MappingNode) and len(item.value) == 1:
                at, value = item.value[0]
                word = at.value if isinstance(at, yaml.ScalarNode) else ""
                order = self.listed(value, f"what `{word}` ranks")
            if word not in frozenset(Rating):
                self.wrong(at, f"there is no rating {word!r}{_nearest(word, Rating)}; there are {', '.join(Rating)}.")
                continue
            rating = Rating(word)
            if rating in LISTED and not order:
                self.wrong(at, f"`{word}` needs a list, the best first: {{{word}: […]}}.")
            if rating not in LISTED and order:
                self.wrong(at, f"`{word}` takes no list.")
            self.known(item, rating, order)
            found.append(Ranked(rating, order))
        return tuple(found)

    def known(self, node: yaml.Node, rating: Rating, order: tuple[str, ...]) -> None:
        v, names = self.vocabulary, None
        if rating is Rating.LOCATION_TYPE:
            names = frozenset(word.value for word in LocationType)
        elif v is not None and rating is Rating.LOCATION:
            names = v.locations
        elif v is not None and rating is Rating.TAG:
            names = v.tags
        for name in order:
            if names is not None and name not in names:
                self.wrong(node, f"there is no {rating.value.replace('_', ' ')} {name!r}{_nearest(name, names)}.")

    def cost(self, node: yaml.Node) -> Cost:
        fields = self.mapping(node, "`cost`", Cost.__struct_fields__, "term of cost")
        plain = Cost()
        read: dict[str, Any] = {}
        for name in Cost.__struct_fields__:
            usual = getattr(plain, name)
            if isinstance(usual, bool):
                read[name] = self.yes(fields, name, usual)
            elif isinstance(usual, int):
                read[name] = self.whole(fields, name, 0, MOST_MINOR, usual)
            else:
                most = 1.0 if name == "capacity_from" else 1e6
                read[name] = self.number(fields, name, 0, most, usual)
        if not read["safe_weeks"] and read["stock_out_minor"]:
            self.wrong(
                fields["safe_weeks"][1], "`safe_weeks` is more than 0 where running out of stock costs something."
            )
        return Cost(**read)

    def split(self, fields: Nodes) -> _Split:
        if "split" not in fields:
            return _Split()
        node = fields["split"][1]
        found = _Split()
        if isinstance(node, yaml.ScalarNode) and node.value in _SPLITS:
            found = _SPLITS[node.value]
        elif isinstance(node, yaml.MappingNode):
            within = self.mapping(node, "`split`", ("at_most", "in_rank_order"))
            if not node.value:
                self.wrong(node, "`split` is empty; write {at_most: 2}, or leave it out.")
            found = _Split(self.whole(within, "at_most", 1, 1000, None), self.yes(within, "in_rank_order", False))
        else:
            self.wrong(node, "`split` is never, by_cost, in_rank_order or {at_most: 2}.")
        if found.in_rank_order and "ranked" not in fields:
            said = "`in_rank_order` needs ratings to rank by: add `ranked`, or split by_cost."
            self.wrong(node, said)
        return found

    # -- values ------------------------------------------------------------------------------------------------------------

    def mapping(self, node: yaml.Node | None, what: str, known: tuple[str, ...], called: str = "field") -> Nodes:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{what} is a mapping with {', '.join(known)}.")
            return {}
        found: Nodes = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value not in known:
                word = key.value if isinstance(key, yaml.ScalarNode) else "?"
                self.wrong(key, f"{what} has no {called} {word!r}{_nearest(word, known)}; it has {', '.join(known)}.")
            elif key.value in found:
                self.wrong(key, f"{key.value!r} stands twice.")
            else:
                found[key.value] = (key, value)
        return found

    def name(self, fields: Nodes, node: yaml.Node | None, what: str) -> str:
        value = fields["name"][1] if "name" in fields else None
        if isinstance(value, yaml.ScalarNode) and 1 <= len(value.value) <= 100:
            if wrong := wrong_with(value.value):
                self.wrong(value, wrong)
            return str(value.value)
        self.wrong(value or node, f"give {what} a `name` of 1 to 100 characters.")
        return ""

    def listed(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode) or not all(
            isinstance(item, yaml.ScalarNode) and 1 <= len(item.value) <= 100 for item in node.value
        ):
            self.wrong(node, f"{what} is a list of names.")
            return ()
        return tuple(item.value for item in node.value)

    def names(self, fields: Nodes, name: str, known: frozenset[str] | None, words: str | None = None) -> frozenset[str]:
        if name not in fields:
            return frozenset()
        node = fields[name][1]
        found = self.listed(node, f"`{name}`")
        if not found and isinstance(node, yaml.SequenceNode):
            self.wrong(node, f"`{name}` names nothing; leave it out, and it filters nothing.")
        for word in found:
            if known is not None and word not in known:
                there = f"; there are {words}" if words else ""
                self.wrong(node, f"`{name}`: there is no {word!r}{_nearest(word, known)}{there}.")
        return frozenset(found)

    def word(self, fields: Nodes, name: str, words: type[StrEnum], usual: Any) -> Any:
        if name not in fields:
            return usual
        node = fields[name][1]
        if not isinstance(node, yaml.ScalarNode) or node.value not in frozenset(words):
            self.wrong(node, f"`{name}` is {' or '.join(words)}.")
            return usual
        return words(node.value)

    def yes(self, fields: Nodes, name: str, usual: bool) -> bool:
        return bool(self.scalar(fields, name, usual, "true or false", lambda value: isinstance(value, bool)))

    def whole(self, fields: Nodes, name: str, least: int, most: int, usual: Any) -> Any:
        def fits(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

        return self.scalar(fields, name, usual, f"a whole number from {least} to {most}", fits)

    def number(self, fields: Nodes, name: str, least: float, most: float, usual: Any) -> Any:
        def fits(value: Any) -> bool:
            right = isinstance(value, (int, float)) and not isinstance(value, bool)
            return right and math.isfinite(value) and least <= value <= most

        found = self.scalar(fields, name, usual, f"a number from {least:g} to {most:g}", fits)
        return found if found is None else float(found)

    def scalar(self, fields: Nodes, name: str, usual: Any, what: str, fits: Callable[[Any], bool]) -> Any:
        if name not in fields:
            return usual
        node = fields[name][1]
        value = None
        if isinstance(node, yaml.ScalarNode):
            try:
                value = yaml.SafeLoader("").construct_object(node)
            except (yaml.YAMLError, ValueError, OverflowError):
                value = None
        if not fits(value):
            self.wrong(node, f"`{name}` is {what}.")
            return usual
        return value


def _nearest(word: str, known: Mapping[str, Any] | frozenset[str] | tuple[str, ...] | type[StrEnum]) -> str:
    found = get_close_matches(word, [str(name) for name in known], 1)
    return f" (is {found[0]!r} meant?)" if found and found[0] != word else ""


# -- JSON Schema -----------------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """The form of a profile, as JSON Schema 2020-12: for editors. ``parse`` says more, and says it with lines."""
    names = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 100}, "minItems": 1}

    def one_of(words: type[StrEnum]) -> dict[str, Any]:
        return {"enum": [word.value for word in words]}

    def mapping(**properties: Any) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "additionalProperties": False}

    cost: dict[str, Any] = {}
    for name in Cost.__struct_fields__:
        usual = getattr(Cost(), name)
        kind = "boolean" if isinstance(usual, bool) else "integer" if isinstance(usual, int) else "number"
        cost[name] = {"type": kind, "default": usual} | ({} if kind == "boolean" else {"minimum": 0})
    cost["capacity_from"]["maximum"] = 1
    ranked = {
        "type": "array",
        "minItems": 1,
        "items": {
            "oneOf": [
                {"enum": [rating.value for rating in Rating if rating not in LISTED]},
                *(mapping(**{rating.value: names}) | {"required": [rating.value]} for rating in sorted(LISTED)),
            ]
        },
    }
    roots = {root: ", ".join(f"{name} ({kind})" for name, (kind, _) in of.items()) for root, of in FACTS.items()}
    strategy = mapping(
        name={"type": "string", "minLength": 1, "maxLength": 100},
        when={"type": "string", "description": "CEL over " + "; ".join(f"{r}: {n}" for r, n in roots.items()) + "."},
        fences=mapping(
            location_types={"type": "array", "items": one_of(LocationType), "minItems": 1},
            locations=names,
            tags=mapping(any=names, all=names, none=names),
            within_km={"type": "number", "minimum": 0, "maximum": 50_000},
            same_country={"type": "boolean"},
            capacity_left={"type": "integer", "minimum": 0},
            stock_left={"type": "integer", "minimum": 0},
            keeps_promise={"type": "boolean"},
        ),
        cost=mapping(**cost),
        ranked=ranked,
        split={
            "oneOf": [
                {"enum": list(_SPLITS)},
                mapping(at_most={"type": "integer", "minimum": 1, "maximum": 1000}, in_rank_order={"type": "boolean"})
                | {"minProperties": 1},
            ]
        },
        keep_together={"type": "array", "items": one_of(Keep), "minItems": 1},
        partial=one_of(Partial),
    ) | {"required": ["name"], "not": {"required": ["cost", "ranked"]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Routing profile",
        **mapping(
            **{
                "name": {"type": "string", "minLength": 1, "maxLength": 100},
                "for": mapping(channels=names, sellers=names, order_types=names, destinations=names),
                "strategies": {"type": "array", "items": strategy, "minItems": 1, "maxItems": MOST_STRATEGIES},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "fallback": one_of(Fallback),
                "backlog_days": {"type": "integer", "minimum": 0, "maximum": 60},
                "most_tries": {"type": "integer", "minimum": 1, "maximum": 100},
            }
        ),
        "required": ["name", "strategies"],
    }
