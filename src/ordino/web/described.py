"""What the OpenAPI document says of a handler that reads its body by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from litestar.openapi.spec import Operation

from ordino.web.bodies import JSON, Body
from ordino.web.operations import type_name


def described(
    body: Body | type[Any] | None,
    outcome: Any,
    *,
    required: bool = True,
    media_type: str = JSON,
    rows: Mapping[str, str] = {},
    rows_outcome: Any = None,
) -> type[Operation]:
    """The OpenAPI operation of a handler that reads its body by itself and answers with ``outcome``.

    ``body`` is what it reads: a ``Body`` (one item, a list, or a list under its name), a single type or nothing; ``rows`` are
    the media types of rows that it reads, too, and what they hold; ``rows_outcome`` is what answers them. A tuple of outcomes
    is any one of them.
    """
    several = isinstance(body, Body)
    sent_name = body.type.__name__ if isinstance(body, Body) else None if body is None else type_name(body)
    answered = {"anyOf": [schema_of(one) for one in outcome]} if isinstance(outcome, tuple) else schema_of(outcome)
    content: dict[str, Any] = {
        type_: {"schema": {"type": "string", "description": held}} for type_, held in rows.items()
    }
    types = (*([media_type] if body is not None else []), *rows)
    if isinstance(body, Body):
        sent = schema_of(body.type)
        listed = {"type": "array", "items": sent, "minItems": 1, "maxItems": body.most}
        named = {
            "type": "object",
            "properties": {body.name: listed},
            "required": [body.name],
            "additionalProperties": False,
        }
        content[media_type] = {"schema": {"anyOf": [sent, named, listed]}}
        outcomes = {"type": "object", "properties": {"outcomes": {"type": "array", "items": answered}}}
        answered = {"anyOf": [answered, outcomes, *([schema_of(rows_outcome)] if rows else [])]}
    elif body is not None:
        content[media_type] = {"schema": schema_of(body)}

    @dataclass
    class Described(Operation):
        takes_body: ClassVar[bool] = body is not None or bool(rows)
        takes_rows: ClassVar[frozenset[str]] = frozenset(rows)
        media_types: ClassVar[tuple[str, ...]] = types
        body_required: ClassVar[bool] = required and bool(types)
        reads: ClassVar[str | None] = f"{sent_name} or a list" if several else sent_name
        answers: ClassVar[Any] = outcome
        sent: ClassVar[Any] = body

        def to_schema(self) -> dict[str, Any]:
            schema = super().to_schema()
            if content:
                schema["requestBody"] = {"required": required, "content": content}
            told = schema["responses"]
            [status] = [status for status in told if status.startswith("2")]
            told[status]["content"] = {JSON: {"schema": answered}}
            if several:
                told.setdefault("200", {**told[status], "description": "A list, rows, or what was there before."})
            return schema

    return Described


def schema_of(type_: Any) -> dict[str, Any]:
    """The JSON Schema of a type, with its references replaced by what they refer to."""
    [reference], definitions = msgspec.json.schema_components([type_])
    schema: dict[str, Any] = inline(reference, definitions)
    return schema


def inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with its references replaced by what they refer to."""
    if isinstance(schema, list):
        return [inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inline(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {name: inline(part, definitions) for name, part in schema.items() if name != "discriminator"}
