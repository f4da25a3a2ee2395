"""The types of JSON Schemas in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {"uuid": "UUID", "date-time": "instant"}


def type_words(schema: Mapping[str, Any], *, null: bool = True) -> str:
    """Such as ``list of integer``, ``UUID or null`` or ``one of open, done``. ``null``: say so where null is allowed."""
    if options := schema.get("anyOf"):
        told = [type_words(one, null=null) for one in options if null or one.get("type") != "null"]
        return " or ".join(dict.fromkeys(told))
    if parts := schema.get("allOf"):
        return type_words(parts[0], null=null)
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        values = [str(value) for value in schema["enum"] if value is not None]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if schema.get("type") == "array":
        if parts := schema.get("prefixItems"):
            return f"({', '.join(type_words(one, null=null) for one in parts)})"
        return f"list of {type_words(schema.get('items') or {}, null=null)}"
    name = str(schema.get("format", schema.get("type", "anything")))
    return _WORDS.get(name, name)
