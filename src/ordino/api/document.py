"""The API's document at /schema: its viewer, and what holds for every operation."""

from __future__ import annotations

from importlib.metadata import distribution, version
from pathlib import Path

from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
    Schema,
    SecurityScheme,
)
from litestar.static_files import create_static_files_router

from ordino.core.http import KEY_CHARACTERS, PROBLEM, Problem, schema_of

ASSETS = "/schema/assets"
_METHODS = ("get", "put", "post", "patch", "delete")
_CHANGING = ("put", "post", "patch", "delete")


def configuration() -> OpenAPIConfig:
    """What the framework needs to know to make the document of the routes."""
    return OpenAPIConfig(
        title="Ordino",
        version=version("ordino"),
        description="An open, distributed order management system.",
        path="/schema",
        components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"key": []}],
        render_plugins=[
            SwaggerRenderPlugin(
                js_url=f"{ASSETS}/swagger-ui-bundle.js",
                css_url=f"{ASSETS}/swagger-ui.css",
                standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
            )
        ],
    )


def viewer() -> Router:
    """The files of the document's viewer; they come with a package, so that nothing is fetched from elsewhere."""
    files = Path(str(distribution("swagger-ui-py").locate_file("swagger_ui/static")))
    return create_static_files_router(ASSETS, directories=[files], include_in_schema=False)


def complete(app: Litestar) -> None:
    """Problem documents as the answer of every operation to what it refuses, and keys for what is sent."""
    document = app.openapi_schema
    assert document.paths is not None, "there are routes"
    document.components.schemas["Problem"] = _Told(schema_of(Problem))
    refused = OpenAPIResponse(
        description="A problem document (RFC 9457); nothing was changed.",
        content={PROBLEM: OpenAPIMediaType(schema=Reference("#/components/schemas/Problem"))},
    )
    for item in document.paths.values():
        for method in _METHODS:
            operation: Operation | None = getattr(item, method)
            if operation is None:
                continue
            answers = {status: told for status, told in (operation.responses or {}).items() if status.startswith("2")}
            operation.responses = {**answers, "default": refused}
            if method in _CHANGING:
                operation.parameters = [*(operation.parameters or []), _KEY]


class _Told(Schema):
    """A schema that is written already."""

    def __init__(self, schema: dict[str, object]) -> None:
        super().__init__()
        self._schema = schema

    def to_schema(self) -> dict[str, object]:
        return self._schema


_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    required=False,
    description="A repeat by the same caller with the same key gets the first answer; the same key with another request (path, "
    "query or body) is a conflict. Names in another order, defaults written out or left out, and instants at another offset make "
    "no other request. For rows of CSV and NDJSON, the key names the feed where they are one; other rows are safe to send again.",
    schema=_Told({"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS}),
)
