"""Ports and adapters: what stages ask of the world outside, and the programs that do it, found by entry point.

A stage declares a port: a protocol of a few methods. An adapter implements it for one provider, carrier, mail server or
channel, and its package names it in the entry points of the port's group. Ordino's own adapters are found in the same way.

ADA-1  An adapter that cannot be loaded, or that lacks a method of its port, is reported with the reason. It ends nothing, and the
       others are used.
ADA-2  Two adapters of one kind and one name are refused, both of them: nobody could tell which of them money or goods go through.
"""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from ordino.core.codes import normal, wrong_with
from ordino.core.errors import OrdinoError
from ordino.core.limits import Limits, limits_by_name
from ordino.core.settings import Settings

T = TypeVar("T")
log = logging.getLogger("ordino.adapters")
NAME_CHARACTERS = 100
REASON_CHARACTERS = 500


class Adapter(Protocol):
    """What every adapter can say of itself."""

    def lacking(self) -> str | None:
        """What this process would need to use it, as a sentence that says what to do; None if it needs nothing more."""
        ...


class StatesLimits(Protocol):
    """An adapter may say how many calls its provider bears."""

    def call_limits(self) -> Limits:
        """Calls side by side, and calls that begin in a second, for all that is asked of this provider by one worker."""
        ...


class CallsNobody(Protocol):
    """An adapter may say that it answers by itself, at once, and calls nobody: then its answers are written down in sets."""

    calls_nobody: bool


class Unreadable(Struct, frozen=True):
    """Something that came from outside and nobody understands: where it stands, and what is wrong with it."""

    where: str
    detail: str


class AdapterShown(Struct, frozen=True, kw_only=True):
    """One adapter that a package names. ``lacking`` is what it needs before it can be used, and ``problem`` why it cannot be
    used at all; with neither, it is ``ready``.
    """

    kind: str
    name: str
    package: str
    version: str
    ready: bool
    lacking: str | None = None
    problem: str | None = None


class _Found(Struct, frozen=True, kw_only=True):
    """An entry point, and why it is not used, if it is not."""

    name: str
    package: str
    version: str
    problem: str | None = None


class Port(MutableMapping[str, T], Generic[T]):
    """The adapters of one kind, by name. They are loaded when they are first asked for; a test may put others in."""

    def __init__(self, kind: str, group: str, protocol: type[Any]) -> None:
        self.kind = kind
        self.group = group
        self._methods = _methods_of(protocol)
        self._adapters: dict[str, T] = {}
        self._found: list[_Found] | None = None
        PORTS[kind] = self

    @property
    def words(self) -> str:
        """The kind in words: payment provider."""
        return self.kind.replace("_", " ")

    def load(self) -> None:
        """Load every adapter that is installed, once."""
        if self._found is not None:
            return
        self._found = []
        named: dict[str, list[EntryPoint]] = defaultdict(list)
        for entry in entry_points(group=self.group):
            named[normal(entry.name)].append(entry)
        for name, entries in sorted(named.items()):
            self._found += [self._take(name, entry, _twice(name, entries)) for entry in entries]

    def limits(self, name: str) -> Limits:
        """What calls to this adapter are held to: what ORDINO_CALL_LIMITS says, and what it leaves open as the adapter says."""
        return set_limits().get(name, Limits()).or_as(_stated(self.get(name)))

    def unknown(self, name: str) -> str:
        """The sentence that refuses a name that no adapter has."""
        known = ", ".join(sorted(self)) or "none is installed"
        return f"There is no {self.words} {name!r} here; choose one of: {known}. `ordino adapters` says what is wrong with others."

    def shown(self) -> list[AdapterShown]:
        """Every adapter that some package names, by name."""
        self.load()
        shown = []
        for found in self._found or ():
            lacking, problem = None, found.problem
            if problem is None and found.name in self._adapters:
                lacking, problem = _lacking(self._adapters[found.name])
            shown.append(
                AdapterShown(
                    kind=self.kind,
                    name=found.name,
                    package=found.package,
                    version=found.version,
                    ready=lacking is None and problem is None,
                    lacking=lacking,
                    problem=problem,
                )
            )
        return shown

    def _take(self, name: str, entry: EntryPoint, problem: str | None) -> _Found:
        """Load one, if nothing speaks against it. Whatever its package does wrong becomes a reason."""
        problem = problem or _wrong_name(name)
        if problem is None:
            try:
                adapter = _made(entry.load())
                if missing := [method for method in self._methods if not callable(getattr(adapter, method, None))]:
                    problem = f"It lacks {', '.join(f'`{method}`' for method in missing)}, which a {self.words} has."
                else:
                    _stated(adapter)
                    self._adapters[name] = adapter
            except OrdinoError as error:
                problem = str(error)
            except (Exception, SystemExit) as error:  # whatever somebody else's package does
                problem = f"It cannot be loaded: {type(error).__name__}: {error}"
        package, version = _package_of(entry)
        if problem is not None:
            problem = problem[:REASON_CHARACTERS]
            log.error("the %s %r of %s %s is not used: %s", self.words, name, package, version, problem)
        return _Found(name=name, package=package, version=version, problem=problem)

    def __getitem__(self, name: str) -> T:
        self.load()
        return self._adapters[name]

    def __setitem__(self, name: str, adapter: T) -> None:
        self.load()
        self._adapters[name] = adapter

    def __delitem__(self, name: str) -> None:
        self.load()
        del self._adapters[name]

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(self._adapters)

    def __len__(self) -> int:
        self.load()
        return len(self._adapters)


PORTS: dict[str, Port[Any]] = {}
"""The ports of all stages that are loaded, by kind."""


def load_all() -> None:
    """Load the adapters of every port. Raises nothing."""
    for port in PORTS.values():
        port.load()


def adapters() -> list[AdapterShown]:
    """Every adapter of every kind, as this process sees it, by kind and name."""
    return [shown for kind in sorted(PORTS) for shown in PORTS[kind].shown()]


def _methods_of(protocol: type[Any]) -> list[str]:
    """The methods that a protocol and those that it extends ask for."""
    own = [one for one in protocol.__mro__ if getattr(one, "_is_protocol", False) and one is not Protocol]
    return sorted({name for one in own for name, it in vars(one).items() if inspect.isfunction(it) and name[0] != "_"})


def _made(loaded: Any) -> Any:
    """An entry point names a class or a function that makes the adapter, or the adapter itself."""
    return loaded() if inspect.isclass(loaded) or inspect.isroutine(loaded) else loaded


@cache
def set_limits() -> dict[str, Limits]:
    """What ORDINO_CALL_LIMITS says, by the names of adapters. Raises ``Invalid``."""
    return limits_by_name(Settings.from_environment().call_limits or "")


def _stated(adapter: Any) -> Limits:
    """What an adapter says that its provider bears. Raises ``TypeError`` for what is none."""
    state = getattr(adapter, "call_limits", None)
    limits = Limits() if state is None else state()
    if not isinstance(limits, Limits):
        raise TypeError(f"`call_limits` returns {type(limits).__name__}, and not ordino.core.limits.Limits")
    return limits


def _lacking(adapter: Any) -> tuple[str | None, str | None]:
    """(what it lacks, why even that cannot be told)"""
    try:
        return adapter.lacking(), None
    except OrdinoError as error:
        return str(error), None
    except Exception as error:
        return None, f"It cannot say what it lacks: {type(error).__name__}: {error}"[:REASON_CHARACTERS]


def _twice(name: str, entries: list[EntryPoint]) -> str | None:
    if len(entries) == 1:
        return None
    packages = " and ".join(sorted(" ".join(_package_of(entry)) for entry in entries))
    return f"Several packages name an adapter {name!r}: {packages}. None of them is used; uninstall all but one."


def _wrong_name(name: str) -> str | None:
    if len(name) > NAME_CHARACTERS:
        return f"Its name has {len(name)} characters; {NAME_CHARACTERS} are the most."
    return wrong_with(name)


def _package_of(entry: EntryPoint) -> tuple[str, str]:
    """(name, version) of the package that names it."""
    return ("", "") if entry.dist is None else (entry.dist.name, entry.dist.version)
