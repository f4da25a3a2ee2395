"""What an operation takes, in words: its request, its parameters, the fields of its body, and the permission that it needs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from ordino.core.type_words import type_words
from ordino.web.bodies import JSON
from ordino.web.operations import OperationView

if TYPE_CHECKING:
    from litestar import Litestar

DEEP = 3


class Described(Struct, frozen=True, kw_only=True):
    """One operation, with what its handler says of it, and the JSON Schema of what its body holds."""

    operation: OperationView
    description: str | None
    body_schema: dict[str, Any] | None


class Field(Struct, frozen=True, kw_only=True):
    """A field of a body; ``name`` with the objects that it stands in, such as ``lines[].sku``."""

    name: str
    type: str
    required: bool
    description: str


def described(app: Litestar, view: OperationView) -> Described:
    """What the API's document and the handler say of an operation."""
    from litestar.routes import HTTPRoute

    paths = app.openapi_schema.paths
    assert paths is not None, "there are routes"
    content = getattr(paths[view.path], view.method.lower()).to_schema().get("requestBody", {}).get("content", {})
    [handler] = [
        handler
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path_format == view.path
        for method, (handler, _) in route.route_handler_map.items()
        if method == view.method
    ]
    return Described(
        operation=view,
        description=handler.description or inspect.getdoc(handler.fn),
        body_schema=content.get(JSON, {}).get("schema"),
    )


def in_words(found: Described) -> RenderableType:
    """As a terminal shows it."""
    view = found.operation
    parts: list[RenderableType] = [Text(f"{view.name}: {view.summary}", style="bold"), Text(_usage(view))]
    parts.append(Text(f"{view.method} {view.path}"))
    if found.description:
        parts += [Text(""), Text(" ".join(found.description.split()))]
    parts += [Text(""), Text(_needs(view))]
    if view.parameters:
        table = Table("parameter", "in", Column("type", overflow="fold"), "required", Column("what", overflow="fold"))
        for one in view.parameters:
            several = " (repeatable)" if one.repeatable else ""
            required = "yes" if one.required else ""
            table.add_row(one.name, one.place, Text(one.type + several), required, Text(one.description or ""))
        parts += [Text(""), table]
    if view.media_types:
        needed = "" if view.body_required else " It may be left out."
        parts += [Text(""), Text(f"Body: {view.body}, as {', '.join(view.media_types)}.{needed}")]
        parts += [_table_of(fields) for fields in fields_of(found.body_schema or {})]
    parts += [Text(""), Text(f"Answer: {view.outcome}")]
    if view.refusals:
        parts.append(Text(f"Refusals: {', '.join(f'{one.code} ({one.status})' for one in view.refusals)}"))
    return Group(*parts)


def _usage(view: OperationView) -> str:
    words = [f"{one.name}=…" if one.required else f"[{one.name}=…]" for one in view.parameters]
    if view.media_types:
        words.append("--body FILE" if view.body_required else "[--body FILE]")
    return " ".join(["ordino call", view.name, *words])


def _needs(view: OperationView) -> str:
    if view.keyless:
        return "Over HTTP it needs no key."
    needs = " and ".join(f"`{one}`" for one in view.permissions)
    return f"Over HTTP it needs a key with {needs}." if needs else "Over HTTP any key will do."


def _table_of(fields: list[Field]) -> Table:
    table = Table("field", Column("type", overflow="fold"), "required", Column("what", overflow="fold"))
    for one in fields:
        table.add_row(Text(one.name), Text(one.type), "yes" if one.required else "", Text(one.description))
    return table


def fields_of(schema: Mapping[str, Any]) -> list[list[Field]]:
    """The fields of each kind of object that a body may be; a list of them, by itself or under its name, is no other kind."""
    return [list(_fields(one, "", 0)) for one in _objects(schema)]


def _objects(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    options = schema.get("anyOf")
    if options is None:
        return [schema] if schema.get("properties") else []
    first, *_ = options
    listed = [one for one in options if first in (one.get("items"), *_items(one))]
    return [found for one in options if one not in listed for found in _objects(one)]


def _items(schema: Mapping[str, Any]) -> list[Any]:
    return [field.get("items") for field in schema.get("properties", {}).values()]


def _fields(schema: Mapping[str, Any], before: str, depth: int) -> Iterator[Field]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        said = " ".join(str(field.get("description", "")).split())
        yield Field(name=before + name, type=type_words(field, null=False), required=name in required, description=said)
        if depth < DEEP:
            for inner, sign in _inner(field):
                yield from _fields(inner, f"{before}{name}{sign}.", depth + 1)


def _inner(field: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects within a field, and how the path to their fields goes on."""
    for one in field.get("anyOf") or field.get("allOf") or [field]:
        if one.get("properties"):
            yield one, ""
        elif (items := one.get("items")) and isinstance(items, dict):
            yield from ((found, f"[]{sign}") for found, sign in _inner(items))
