"""What holds for every operation of the API's document: problem documents, and keys for what is sent."""

from __future__ import annotations

from litestar import Litestar
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Reference, Schema

from ordino.core.http import KEY_CHARACTERS, PROBLEM, Problem, schema_of

_METHODS = ("get", "put", "post")
_CHANGING = ("put", "post")


def complete(app: Litestar) -> None:
    """Write it into the document that the framework makes of the routes."""
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
    description="A repeat with the same key gets the first answer; the same key with another request is a conflict.",
    schema=_Told({"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS}),
)
