"""The API's document at /schema: its viewer, and what holds for every operation."""

from __future__ import annotations

from collections.abc import Mapping
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

from ordino.core.idempotency import CHARACTERS
from ordino.web.described import schema_of
from ordino.web.operations import Table
from ordino.web.problems import PROBLEM, Problem

ASSETS = "/schema/assets"
SCRIPT = "/schema/viewer.js"
DOCUMENT = "/schema/openapi.json"
_METHODS = ("get", "put", "post", "patch", "delete")


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


# What every operation may be answered: status -> the types of its problem documents, and what they mean.
ALWAYS = {
    "400": "`invalid`: the request itself is wrong; `errors` point to what is. Nothing was changed.",
    "401": "`unauthorized`: the request needs an API key that is not revoked. Nothing was changed.",
    "403": "`forbidden`: the key lacks a permission or is narrowed to others, or there is no key and the caller is not on this "
    "machine, or `ORDINO_ALLOWED_HOSTS` does not have the name by which the server is called. Nothing was changed.",
    "500": "`fault`: Ordino has a fault, which is logged. It is not known whether anything was changed: send the same request "
    "again with the same `Idempotency-Key` (orders: `external_id`).",
    "503": "`unavailable`: nothing was changed; send the request again after a second (`Retry-After`). `outcome_unknown`: the "
    "database did not answer the commit; the same request with the same `Idempotency-Key` (orders: `external_id`) gets the "
    "outcome, once.",
}
WITH_BODY = {
    "408": "`timed_out`: the body did not come in time. Rows that were processed before stay so.",
    "413": "`too_large`: the body is larger than is read here. Nothing was changed.",
    "415": "`unsupported_media_type`: the charset or Content-Encoding of the body is not read here. Nothing was changed.",
}
REPEATED = {"key_reused": 409}
REFUSED = (
    "Any other refusal, as a problem document (RFC 9457): `type` ends in its reason, and `detail` says what to do. "
    "Nothing was changed."
)


def complete(app: Litestar) -> None:
    """Problem documents as the answers of every operation to what it refuses, verb by verb, and keys for what is sent."""
    document = app.openapi_schema
    assert document.paths is not None, "there are routes"
    document.components.schemas["Problem"] = _Told(schema_of(Problem))
    told = {**ALWAYS, **WITH_BODY, "default": REFUSED}
    document.components.responses = {_component(status): _answer(words) for status, words in told.items()}
    table: Table = app.state.operations
    for item in document.paths.values():
        for method in _METHODS:
            operation: Operation | None = getattr(item, method)
            if operation is None:
                continue
            own = table.operations[str(operation.operation_id)]
            answers = {status: told for status, told in (operation.responses or {}).items() if status.startswith("2")}
            refused = [status for status in ALWAYS if not own.keyless or status not in ("401", "403")]
            if getattr(operation, "takes_body", False):
                refused += WITH_BODY
            refusals = {
                status: Reference(f"#/components/responses/{_component(status)}")
                for status in [*sorted(refused), "default"]
            }
            operation.responses = {
                **answers,
                **refusals,
                **_verbs_own({**REPEATED, **own.refusals} if own.writes(method) else own.refusals),
            }
            if own.writes(method):
                operation.parameters = [*(operation.parameters or []), _KEY]


def _verbs_own(refusals: Mapping[str, int]) -> dict[str, OpenAPIResponse]:
    """What this verb refuses, status by status; what every operation may be answered is told with it."""
    codes: dict[str, list[str]] = {}
    for code, status in refusals.items():
        codes.setdefault(str(status), []).append(code)
    return {
        status: _answer(f"{', '.join(f'`{code}`' for code in own)}. {ALWAYS.get(status, 'Nothing was changed.')}")
        for status, own in codes.items()
        if own not in (["invalid"], ["unavailable"], ["forbidden"])  # told of every operation
    }


def _component(status: str) -> str:
    return f"Problem{status.capitalize()}"


def _answer(words: str) -> OpenAPIResponse:
    problem = OpenAPIMediaType(schema=Reference("#/components/schemas/Problem"))
    return OpenAPIResponse(description=words, content={PROBLEM: problem})


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
    "no other request. Rows of CSV and NDJSON are kept set by set: a load that broke off goes on where it stood.",
    schema=_Told({"type": "string", "minLength": 1, "maxLength": CHARACTERS}),
)
