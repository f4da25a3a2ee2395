"""The one table of operations: what each is called, what it needs, what narrows it, and how it may be refused.

An ``Operation`` is declared beside its handler (``web.routes``); the table is what all handlers of an application declare. Access
control, the OpenAPI document, ``docs/operations.md`` and ``GET /v1/operations`` are read from it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

from ordino.core.permissions import Permission
from ordino.core.upserts import NotUpserted
from ordino.web.problems import INVALID_STATUS, REFUSED_STATUS
from ordino.web.scopes import WHOLE, Dimension, Narrowing

UPSERT_STATUSES = {"invalid": 400, "forbidden": 403, "unknown": 422, "conflict": 409}
NOT_FOUND = {"not_found": 404}


class Operation(Struct, frozen=True, kw_only=True):
    """What is declared beside a handler.

    ``permission`` None: any key will do; ``keyless``: none is needed at all. ``personal``: the answer shows personal data, and
    needs ``customers.read``, too. ``by`` is what narrows it; with ``items``, the handler holds each item of its body to that, and
    without, what the path or the query names is held to it. ``filters`` are what the handler keeps its answer to by itself.
    ``refusals`` are the codes with which the verb refuses, and their statuses. ``asks``: it changes nothing, though it is sent with
    a body, and no ``Idempotency-Key`` is looked at.
    """

    name: str
    permission: Permission | None
    by: Narrowing = WHOLE
    items: bool = False
    filters: frozenset[Dimension] = frozenset()
    personal: bool = False
    keyless: bool = False
    asks: bool = False
    refusals: Mapping[str, int] = {}

    def writes(self, method: str) -> bool:
        """Does it change anything? Whatever does honors an ``Idempotency-Key``."""
        return method.upper() != "GET" and not self.asks

    @property
    def needs(self) -> frozenset[Permission]:
        """Everything that a key must have."""
        own = frozenset() if self.permission is None else frozenset({self.permission})
        return own | {Permission.CUSTOMERS_READ} if self.personal else own

    def lacking(self, granted: frozenset[Permission]) -> list[Permission]:
        """What is needed and not granted."""
        if not self.personal and (self.permission is None or self.permission in granted):
            return []
        return sorted(self.needs - granted)


class RefusalView(Struct, frozen=True, kw_only=True):
    """A reason for which the operation refuses, and the HTTP status with which it does."""

    code: str
    status: int


class ParameterView(Struct, frozen=True, kw_only=True):
    """A parameter of the path or the query. ``type`` is in words, such as `UUID` or `one of open, done`; a ``repeatable`` one takes
    several values.
    """

    name: str
    place: Literal["path", "query"]
    type: str
    required: bool
    repeatable: bool
    description: str | None


class OperationView(Struct, frozen=True, kw_only=True):
    """One operation. ``permissions`` are all that a key needs; ``narrowed_by`` is the noun that narrowed keys are held to, `whole`
    where they may not use it, `nobody` where nothing is to be held to. ``writes``: it changes something, and honors an
    `Idempotency-Key`. ``media_types`` are what the body may be written in, the usual one first; there are none where no body is
    taken.
    """

    name: str
    method: str
    path: str
    summary: str
    writes: bool
    permissions: list[Permission]
    keyless: bool
    personal: bool
    narrowed_by: str
    parameters: list[ParameterView]
    body: str | None
    body_required: bool
    media_types: list[str]
    outcome: str
    refusals: list[RefusalView]


def refusals(refused: type[Any], statuses: Mapping[str, int] = {}) -> dict[str, int]:
    """The codes of a verb's refusal, in the order in which they are tested, with the status of each."""
    if refused is NotUpserted:
        return dict(UPSERT_STATUSES)
    told = typing.get_type_hints(refused)["reason"]
    if isinstance(told, type) and issubclass(told, StrEnum):
        codes: list[str] = [str(code) for code in told]
    else:
        codes = [str(code) for code in typing.get_args(told)] or sorted(statuses)
    return {code: statuses.get(code, INVALID_STATUS if code == "invalid" else REFUSED_STATUS) for code in codes}


def type_name(told: Any) -> str:
    """A type as people read it."""
    if isinstance(told, tuple):
        return " | ".join(type_name(one) for one in told)
    if isinstance(told, types.UnionType) or typing.get_origin(told) is typing.Union:
        return " | ".join(type_name(one) for one in typing.get_args(told))
    if (of := typing.get_args(told)) and typing.get_origin(told) is not dict:
        return type_name(of[0])
    return str(getattr(told, "__name__", told))


class Table:
    """All operations of an application, by name."""

    def __init__(self, rows: Iterable[tuple[Operation, OperationView]]) -> None:
        self.operations: dict[str, Operation] = {}
        self.views: list[OperationView] = []
        for operation, view in rows:
            assert operation.name not in self.operations, f"two operations are named {operation.name}"
            self.operations[operation.name] = operation
            self.views.append(view)
        self.views.sort(key=lambda view: (view.path, view.method))

    def using(self, permission: Permission) -> Sequence[OperationView]:
        """The operations that need a permission."""
        return [view for view in self.views if permission in view.permissions]
