"""What each kind of event says: a Struct with its facts, under a name and a version.

A stage has its kinds in its ``events.py``, one class each::

    class StockReceived(Payload, kind="stock_received"):
        \"\"\"Units arrived or were found.\"\"\"

        sku_ids: Annotated[list[int], Meta(description="The SKUs of which there are more now.")]

    declare(__name__)

The first sentence of the docstring says what happened. Each field has a description: what it is, in what unit, and when it is null.
A field that is not in every event has the type ``T | UnsetType`` and the default ``UNSET``, and is not written where it is unset.

Versions. Events are kept for ever, and are read by whatever version of the program comes later, or came before. So:

* A field may be added at any time, if it may be absent (``UNSET``): older events are read without it, and older programs ignore it.
* A field that is removed, renamed or added as a required one, or that changes its type or its meaning, makes a new version of the
  kind. The class of before stays beside the new one, under another name, with its version, and reads the events that it wrote::

      class StockReceived1(Payload, kind="stock_received"): ...
      class StockReceived(Payload, kind="stock_received", version=2): ...

* Version 1 is not stored. Later ones are: the JSON of such an event has the field ``event_version``.
* Only the newest version is written. ``tests/event_kinds.txt`` holds the fields of every kind, and a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct, StructMeta

from ordino.core.errors import Unavailable
from ordino.core.type_words import type_words

VERSION_FIELD = "event_version"
HOW: dict[str, Any] = {"frozen": True, "kw_only": True, "gc": False}
T = TypeVar("T")


class _OfKind(StructMeta):
    """Classes with a ``kind`` and a ``version``, beside what every Struct is made with. Their fields are given by name."""

    kind: str
    version: int

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kind: str = "",
        version: int = 1,
        **how: Any,
    ) -> Any:
        if version != 1:
            how |= {"tag_field": VERSION_FIELD, "tag": version}
        made: Any = super().__new__(mcls, name, bases, namespace, **{**HOW, **how})
        made.kind, made.version = kind, version
        return made


class Payload(Struct, metaclass=_OfKind):
    """The facts of an event. Without a kind, a class only holds what several kinds have in common."""

    kind: ClassVar[str]
    version: ClassVar[int]

    if TYPE_CHECKING:

        def __init_subclass__(cls, *, kind: str = "", version: int = 1, kw_only: bool = True) -> None: ...


class Units(Struct, frozen=True):
    """Units of one line."""

    line_no: Annotated[int, Meta(description="The line's number, from 1.")]
    quantity: Annotated[int, Meta(description="How many units.")]


class Declared(Struct, frozen=True, kw_only=True):
    """A kind of event: the type that is written now, what it says in a sentence, which stage declares it, and the types of its
    earlier versions, which are only read.
    """

    payload: type[Payload]
    sentence: str
    stage: str
    version: int
    earlier: Mapping[int, type[Payload]] = {}

    @classmethod
    def of(cls, *versions: type[Payload]) -> Declared:
        """All versions of one kind."""
        *before, now = sorted(versions, key=lambda one: one.version)
        first, _, _ = (now.__doc__ or "").strip().partition("\n\n")
        return cls(
            payload=now,
            sentence=" ".join(first.split()),
            stage=now.__module__.split(".")[1] if now.__module__.startswith("ordino.") else now.__module__,
            version=now.version,
            earlier={one.version: one for one in before},
        )

    def read(self, data: Mapping[str, Any]) -> Payload:
        """The facts of a stored event, by the version that has written it. Fields that are not known here are ignored.

        Raises ``Unavailable`` for a version that this program does not know, and ``msgspec.ValidationError`` for facts that do not
        fit.
        """
        version = data.get(VERSION_FIELD, 1)
        type_ = self.payload if version == self.version else self.earlier.get(version)
        if type_ is None:
            detail = f"The event is of version {version} of `{self.payload.kind}`, which this program does not know yet; update it."
            raise Unavailable(detail)
        return msgspec.convert(data, type_)


KINDS: dict[str, Declared] = {}
"""Every kind of event that some stage writes. A flow may name these and no others."""


def declare(module: str) -> None:
    """A stage writes the events whose types this module defines."""
    found: dict[str, list[type[Payload]]] = {}
    for one in list(vars(sys.modules[module]).values()):
        if isinstance(one, type) and issubclass(one, Payload) and one.__module__ == module and one.kind:
            found.setdefault(one.kind, []).append(one)
    for kind, versions in found.items():
        assert kind not in KINDS, f"two stages declare the event {kind}"
        assert len({one.version for one in versions}) == len(versions), f"two types are of the same version of {kind}"
        KINDS[kind] = Declared.of(*versions)


class Told(Protocol):
    """What has the facts of an event as JSON: a ``Task``, or an event of the log."""

    @property
    def data(self) -> dict[str, Any]: ...


def payload_of(told: Told, type_: type[T]) -> T:
    """The facts as this type: a payload, or a Struct with only those fields that a reaction needs, because a flow may let it follow
    several kinds. Other fields, as the options of a flow, are ignored.

    Raises ``msgspec.ValidationError`` if the facts do not fit, and if they are of another version than the payload: who wants both
    asks by ``told.data["event_version"]``.
    """
    if issubclass(type_, Payload) and (version := told.data.get(VERSION_FIELD, 1)) != type_.version:
        raise msgspec.ValidationError(f"{type_.__name__} is not the type of version {version}.")
    return msgspec.convert(told.data, type_)


class FieldView(Struct, frozen=True, kw_only=True):
    """A field of an event's facts. ``name`` is a path: ``lines[].quantity`` is in each item of the list ``lines``. ``always`` says
    whether every event of the kind has it.
    """

    name: str
    type: str
    always: bool
    description: str


class EventKind(Struct, frozen=True, kw_only=True):
    """A kind of event: what it says, which stage declares it, and its facts, as a list of fields and as a JSON Schema. Events of a
    ``version`` above 1 say so in the field ``event_version``.
    """

    kind: str
    version: int
    sentence: str
    stage: str
    fields: list[FieldView]
    schema: dict[str, Any]


def event_kinds() -> list[EventKind]:
    """Every kind that the loaded stages declare, by name."""
    return [_view(KINDS[kind]) for kind in sorted(KINDS)]


def _view(one: Declared) -> EventKind:
    return EventKind(
        kind=one.payload.kind,
        version=one.version,
        sentence=one.sentence,
        stage=one.stage,
        fields=fields_of(one.payload),
        schema=msgspec.json.schema(one.payload),
    )


def fields_of(type_: type[Payload]) -> list[FieldView]:
    """The fields of a payload, and after a field that holds others, those."""
    schema = msgspec.json.schema(type_)
    return list(_fields(schema, schema.get("$defs", {}), ""))


def _fields(schema: Mapping[str, Any], inner: Mapping[str, Any], path: str) -> Iterator[FieldView]:
    whole = _resolved(schema, inner)
    for name, field in whole.get("properties", {}).items():
        if name == VERSION_FIELD:
            continue
        yield FieldView(
            name=path + name,
            type=type_words(field),
            always=name in whole.get("required", ()),
            description=field.get("description", ""),
        )
        item = field.get("items")
        if isinstance(item, dict) and "$ref" in item:
            yield from _fields(item, inner, f"{path}{name}[].")
        elif nested := _reference(field):
            yield from _fields(nested, inner, f"{path}{name}.")


def _reference(field: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The type of a field that is an object: msgspec puts it into a list of one where the field has a description."""
    return next((one for one in (field, *field.get("anyOf", ()), *field.get("allOf", ())) if "$ref" in one), None)


def _resolved(schema: Mapping[str, Any], inner: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = inner[schema["$ref"].rsplit("/", 1)[-1]]
    return found
