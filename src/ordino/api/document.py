"""The API's document at /schema: its viewer, and what holds for every operation."""

from __future__ import annotations

from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
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
SCRIPT = "/schema/viewer.js"
DOCUMENT = "/schema/openapi.json"
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
        render_plugins=[_Viewer(path="/swagger")],
    )


PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Ordino</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
</head>
<body>
<div id="viewer"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="{SCRIPT}"></script>
</body>
</html>
"""
START = f"""SwaggerUIBundle({{
  url: "{DOCUMENT}", dom_id: "#viewer", deepLinking: true, validatorUrl: null, presets: [SwaggerUIBundle.presets.apis]
}});
"""


class _Viewer(OpenAPIRenderPlugin):
    """The page that shows the document. It loads nothing from elsewhere and holds no script, so that its answer can forbid both."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return PAGE.encode()


@get(SCRIPT, include_in_schema=False, media_type="text/javascript", sync_to_thread=False)
def viewer_script() -> str:
    """What starts the viewer."""
    return START


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
