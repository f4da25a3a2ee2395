"""Handlers, each with its operation: ``get``, ``post``, ``put``, ``patch`` and ``delete`` as the web framework has them."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any

import litestar
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Operation as Documented
from litestar.routes import HTTPRoute

from ordino.core.type_words import type_words
from ordino.web.described import schema_of
from ordino.web.operations import Operation, OperationView, ParameterView, RefusalView, Table, type_name

OPERATION = "operation"
Declared = Callable[[Callable[..., Any]], HTTPRouteHandler]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def declared(operation: Operation, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a handler, with its operation."""
    told: type[Documented] = options.pop("operation_class", Documented)

    class WithPermission(told):  # type: ignore[valid-type, misc]
        def to_schema(self) -> dict[str, Any]:
            schema: dict[str, Any] = super().to_schema()
            schema["x-permission"] = operation.permission and str(operation.permission)
            schema["x-personal-data"] = operation.personal
            schema["x-narrowed-by"] = operation.by.name
            return schema

    return options | {
        "operation_id": operation.name,
        "opt": {OPERATION: operation},
        "operation_class": WithPermission,
    }


def get(path: str, *, operation: Operation, **options: Any) -> Declared:
    return litestar.get(path, **declared(operation, options))


def post(path: str, *, operation: Operation, **options: Any) -> Declared:
    return litestar.post(path, **declared(operation, options))


def put(path: str, *, operation: Operation, **options: Any) -> Declared:
    return litestar.put(path, **declared(operation, options))


def patch(path: str, *, operation: Operation, **options: Any) -> Declared:
    return litestar.patch(path, **declared(operation, options))


def delete(path: str, *, operation: Operation, **options: Any) -> Declared:
    return litestar.delete(path, **declared(operation, options))


def declared_beside(handler: Any) -> Operation:
    """What was declared beside a handler of ours."""
    found = operation_of(handler)
    assert found is not None, "handlers of the API have operations"
    return found


def operation_of(handler: Any) -> Operation | None:
    """What was declared beside the handler; None of the framework's own, which serve the API's document."""
    found: Operation | None = handler.opt.get(OPERATION)
    return found


def table_of(app: Litestar) -> Table:
    """The operations of all routes. Raises ``TypeError`` for a route that has none: nothing would say who may call it."""
    return Table(_rows(app))


def _rows(app: Litestar) -> Iterable[tuple[Operation, OperationView]]:
    seen: set[int] = set()
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, model) in route.route_handler_map.items():
            operation = operation_of(handler)
            if operation is None:
                if handler.resolve_include_in_schema() and method in METHODS:
                    raise TypeError(
                        f"{method} {route.path_format} has no operation: declare it with `operation=` of ordino.web.routes."
                    )
                continue
            if id(handler) not in seen:  # a handler may have several paths
                seen.add(id(handler))
                yield operation, _view(operation, method, route, handler, _parameters(route, handler, model))


def _parameters(route: HTTPRoute, handler: Any, model: Any) -> list[ParameterView]:
    """Those of the path in its order, then those of the query by name, required ones first."""
    declared = handler.parsed_fn_signature.parameters
    found = [
        ParameterView(
            name=part.name,
            place="path",
            type=type_words(schema_of(part.type), null=False),
            required=True,
            repeatable=False,
            description=_description(declared.get(part.name)),
        )
        for part in route.path_components
        if not isinstance(part, str)
    ]
    for asked in sorted(model.expected_query_params, key=lambda one: (not one.is_required, one.field_alias)):
        field = declared[asked.field_name]
        found.append(
            ParameterView(
                name=asked.field_alias,
                place="query",
                type=type_words(schema_of(field.raw), null=False).removeprefix("list of "),
                required=asked.is_required,
                repeatable=asked.is_sequence,
                description=_description(field),
            )
        )
    return found


def _description(field: Any) -> str | None:
    """What a handler says of a parameter, if it does."""
    said: str | None = getattr(getattr(field, "kwarg_definition", None), "description", None)
    return said


def _view(
    operation: Operation, method: str, route: HTTPRoute, handler: Any, parameters: list[ParameterView]
) -> OperationView:
    told = handler.operation_class
    body, outcome = getattr(told, "reads", None), getattr(told, "answers", None)
    if outcome is None:
        outcome = typing.get_type_hints(handler.fn, include_extras=False).get("return")
        outcome = None if outcome is Response else outcome
    return OperationView(
        name=operation.name,
        method=str(method),
        path=route.path_format,
        summary=handler.summary or "",
        writes=operation.writes(str(method)),
        permissions=sorted(operation.needs),
        keyless=operation.keyless,
        personal=operation.personal,
        narrowed_by=operation.by.name,
        parameters=parameters,
        body=body,
        body_required=getattr(told, "body_required", False),
        media_types=list(getattr(told, "media_types", ())),
        outcome=type_name(outcome),
        refusals=[RefusalView(code=code, status=status) for code, status in operation.refusals.items()],
    )
