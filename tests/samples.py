"""Requests for any operation, made from what it declares: paths with things that are there, and bodies that its types accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute
from msgspec import inspect as types

from ordino.web.bodies import Body
from ordino.web.operations import Operation
from ordino.web.routes import operation_of

AT = "2026-11-20T08:00:00Z"
NOWHERE = "00000000-0000-7000-8000-000000000000"
BY_TYPE: tuple[tuple[type[types.Type], Any], ...] = (
    (types.UUIDType, NOWHERE), (types.DateTimeType, AT), (types.DateType, "2026-11-20"), (types.BoolType, False),
    (types.FloatType, 1.0), (types.StrType, "USD"), (types.DictType, {}), (types.AnyType, {}),
)  # fmt: skip


class Sample(msgspec.Struct, frozen=True):
    """One operation of the application, with its handler."""

    operation: Operation
    method: str
    path: str
    handler: Any

    def url(self, known: Mapping[str, Any]) -> str:
        """The path with what is known by the names of its parameters."""
        path = self.path
        values = self.in_path(known)
        for name, parameter in self.handler_path(path).items():
            path = path.replace(f"{{{name}:{parameter}}}", quote(values[name], safe=""))
        return path

    def in_path(self, known: Mapping[str, Any]) -> dict[str, str]:
        """The parameters of the path, with what is known by their names."""
        noun = self.path.split("/")[2] if "{code:" in self.path else ""
        else_ = {"int": 1, "uuid": NOWHERE, "date": "2026-11-20"}
        return {
            name: str(known.get(noun if name == "code" else name, else_.get(parameter, "nothing")))
            for name, parameter in self.handler_path(self.path).items()
        }

    @staticmethod
    def handler_path(path: str) -> dict[str, str]:
        """Parameter -> type."""
        parts = [part[1:-1].partition(":") for part in path.split("/") if part.startswith("{")]
        return {name: type_ for name, _, type_ in parts}

    @property
    def named(self) -> bool:
        """Do the path and the query name what narrows the operation, or is it one thing of a kind?"""
        parameters = {*self.handler_path(self.path), *self.handler.parsed_fn_signature.parameters}
        return set(self.operation.by.names) <= parameters or "{code:" in self.path

    def query(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """What the query needs, and what narrows the operation."""
        named = {name for name in self.operation.by.names if name not in self.handler_path(self.path)}
        given: dict[str, Any] = {}
        for name, parameter in self.handler.parsed_fn_signature.parameters.items():
            if name in self.handler_path(self.path) or name in ("request", "database"):
                continue
            required = not parameter.has_default
            if required or name in named:
                given[name] = known.get(
                    name, AT if name == "at" else "2026-11-20" if name in ("first", "last") else "x"
                )
        return given

    def item(self, known: Mapping[str, Any]) -> Any:
        """One item of its body; None if it takes none."""
        sent = getattr(self.handler.operation_class, "sent", None)
        sent = sent.type if isinstance(sent, Body) else sent
        return None if sent is None or sent is str else sample(types.type_info(sent), known)


def samples(app: Litestar) -> list[Sample]:
    """Every operation of the application, by its path."""
    found = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if (operation := operation_of(handler)) is not None:
                    found[operation.name] = Sample(operation, str(method), route.path, handler)
    return sorted(found.values(), key=lambda one: (one.path, one.method))


def sample(info: types.Type, known: Mapping[str, Any], name: str = "") -> Any:
    """A value of a type. Fields whose name is known have what is known; others are left out unless they must be there."""
    while isinstance(info, types.Metadata):
        info = info.type
    if isinstance(info, types.UnionType):
        return sample(next(one for one in info.types if not isinstance(one, types.NoneType)), known, name)
    if isinstance(info, types.StructType):
        return {
            field.encode_name: sample(field.type, known, field.encode_name)
            for field in info.fields
            if field.required or field.encode_name in known
        }
    if isinstance(info, types.ListType):
        return [sample(info.item_type, known, name)]
    if name in known:
        return known[name]
    if isinstance(info, types.IntType):
        return max(1, info.ge or 0)
    if isinstance(info, types.EnumType):
        return next(iter(info.cls)).value
    if isinstance(info, types.LiteralType):
        return info.values[0]
    return next(value for type_, value in BY_TYPE if isinstance(info, type_))
