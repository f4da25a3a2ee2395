"""Digests of what was sent: two requests that say the same have the same digest.

Names are sorted, fields that equal their defaults are left out, instants are in UTC, and numbers are what they are worth. A client
that sends again with other blanks, another order of names or another offset repeats itself, and so does one that sent before a
release added a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct

DIGEST_BYTES = 16
encode_sorted = msgspec.json.Encoder(order="sorted").encode


def digest_of(*parts: Any) -> bytes:
    """16 bytes for parts that are bytes, texts, Structs, or what JSON decodes to."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        said = part if isinstance(part, bytes) else encode_sorted(canonical(part))
        digest.update(len(said).to_bytes(8, "big") + said)
    return digest.digest()


def canonical(value: Any) -> Any:
    """The value as dicts, lists and scalars, in the form in which equal things look alike."""
    if isinstance(value, Struct):
        said = ((name, getattr(value, field), default) for name, field, default in _fields(type(value)))
        return {name: canonical(it) for name, it, default in said if default is NODEFAULT or it != default}
    if isinstance(value, Mapping):
        return {name: canonical(it) for name, it in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(it) for it in value]
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@cache
def _fields(type_: type[Struct]) -> tuple[tuple[str, str, Any], ...]:
    """(name in JSON, attribute, default) of each field."""
    return tuple(
        (
            field.encode_name,
            field.name,
            field.default if field.default_factory is NODEFAULT else field.default_factory(),
        )
        for field in msgspec.structs.fields(type_)
    )
