"""A flow as written: YAML, checked line by line against the events and reactions that exist."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from msgspec import Struct

from ordino.core.errors import Fault, Invalid
from ordino.core.events import Plan, Step

_DURATION = re.compile(r"(\d{1,6})\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SECONDS = 400 * 86400


class Vocabulary(Struct, frozen=True):
    """What a flow may speak of: event kinds, and reactions with the options that each must be given."""

    events: frozenset[str]
    reactions: Mapping[str, frozenset[str]]


class Flow(Struct, frozen=True):
    """A checked document."""

    name: str
    plan: Plan


def packaged() -> str:
    """The flow that comes with Ordino."""
    return files("ordino.flows").joinpath("home_delivery.yaml").read_text(encoding="utf-8")


def seconds_of(duration: str) -> int | None:
    """``30m`` is 1800; None if it is no duration."""
    match = _DURATION.fullmatch(duration.strip())
    return None if match is None else int(match[1]) * _SECONDS[match[2]]


def parse(text: str, vocabulary: Vocabulary) -> Flow:
    """The flow, or ``Invalid`` with every fault and its line."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        words = getattr(error, "problem", None) or str(error)
        raise Invalid(f"Line {line}: this is not YAML: {words}.", faults=[Fault(f"/line/{line}", words)]) from error
    except RecursionError as error:
        raise Invalid("Line 1: this is nested too deeply.", faults=[Fault("/line/1", "nested too deeply")]) from error
    reader = _Reader(vocabulary)
    flow = reader.flow(root)
    if reader.faults:
        raise Invalid("The flow is not valid: " + " ".join(f.detail for f in reader.faults), faults=reader.faults)
    return flow


class _Reader:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.faults: list[Fault] = []

    def wrong(self, node: yaml.Node | None, detail: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self.faults.append(Fault(f"/line/{line}", f"Line {line}: {detail}"))

    def flow(self, root: yaml.Node | None) -> Flow:
        fields = self._mapping(root, "A flow is a mapping with `name` and `events`.")
        for key, (at, _) in fields.items():
            if key not in ("name", "events"):
                self.wrong(at, f"a flow has `name` and `events`, but no {key!r}.")
        name = ""
        if "name" in fields and isinstance(fields["name"][1], yaml.ScalarNode) and fields["name"][1].value:
            name = fields["name"][1].value
        else:
            self.wrong(root, "give the flow a `name`.")
        plan: dict[str, tuple[Step, ...]] = {}
        if "events" not in fields:
            self.wrong(root, "say under `events` what follows what.")
            return Flow(name, plan)
        events = self._mapping(fields["events"][1], "`events` maps each event to a list of reactions.")
        for kind, (at, node) in events.items():
            if kind not in self.vocabulary.events:
                self.wrong(at, f"there is no event {kind!r}; there are {', '.join(sorted(self.vocabulary.events))}.")
            if not isinstance(node, yaml.SequenceNode):
                self.wrong(node, f"what follows {kind} is a list of reactions.")
                continue
            steps = [self._step(item) for item in node.value]
            plan[kind] = tuple(step for step in steps if step is not None)
        return Flow(name, plan)

    def _step(self, node: yaml.Node) -> Step | None:
        if isinstance(node, yaml.ScalarNode):
            return self._checked(node, node.value, {})
        entry = self._mapping(node, "a reaction is a name, or a name with a mapping of options.")
        if len(entry) != 1:
            self.wrong(node, "one reaction an item: put each into a list item of its own.")
            return None
        [(name, (at, value))] = entry.items()
        options = self._mapping(value, f"the options of {name} are a mapping.")
        return self._checked(at, name, options)

    def _checked(self, at: yaml.Node, name: str, options: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> Step | None:
        wanted = self.vocabulary.reactions.get(name)
        if wanted is None:
            self.wrong(at, f"there is no reaction {name!r}; there are {', '.join(sorted(self.vocabulary.reactions))}.")
            return None
        after = 0
        given: dict[str, Any] = {}
        for key, (key_node, value) in options.items():
            if key == "after":
                seconds = seconds_of(value.value) if isinstance(value, yaml.ScalarNode) else None
                if seconds is None or seconds > LONGEST_SECONDS:
                    self.wrong(value, "`after` is a whole number of s, m, h or d, up to 400d: 30m, 2h, 5d.")
                after = seconds or 0
            elif key not in wanted:
                known = ", ".join(sorted(wanted | {"after"}))
                self.wrong(key_node, f"{name} has no option {key!r}; it has {known}.")
            elif not isinstance(value, yaml.ScalarNode):
                self.wrong(value, f"{key} is a single value.")
            else:
                given[key] = value.value
        for key in sorted(wanted - options.keys()):
            self.wrong(at, f"{name} needs the option {key!r}.")
        return Step(name, after, given)

    def _mapping(self, node: yaml.Node | None, rule: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, rule)
            return {}
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, rule)
            elif key.value in found:
                self.wrong(key, f"{key.value!r} stands twice.")
            else:
                found[key.value] = (key, value)
        return found
