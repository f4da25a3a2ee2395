"""API keys: 256 random bits, shown once and kept as a hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import Invalid, NotFound
from ordino.core.ids import new_id
from ordino.core.statements import statements

sql = statements("ordino.core")
PREFIX = "ordino_"


class Scope(StrEnum):
    """What a key may do. Each includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(Struct, frozen=True):
    """A key without its secret."""

    key_id: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


async def make(tx: Tx, name: str, scopes: Sequence[str], *, at: datetime) -> tuple[UUID, str]:
    """The key's id, and its token, which nobody can read again."""
    unknown = [scope for scope in scopes if scope not in list(Scope)]
    if unknown or not scopes:
        raise Invalid(f"A key has scopes out of {', '.join(Scope)}, not {', '.join(unknown) or 'none'}.")
    token = PREFIX + secrets.token_urlsafe(32)
    key_id = new_id(at)
    await sql.make_api_key(tx, key_id=key_id, name=name, hash=hash_of(token), scopes=list(scopes), at=at)
    return key_id, token


async def revoke(tx: Tx, key_id: UUID, *, at: datetime) -> None:
    """Raises ``NotFound`` if there is no such living key."""
    if not await sql.revoke_api_key(tx, key_id=key_id, at=at):
        raise NotFound(f"There is no living key {key_id}.")


async def keys(tx: Tx) -> list[ApiKey]:
    """All keys, newest first."""
    return [ApiKey(**row) for row in await sql.api_keys(tx)]


class Bearer(Struct, frozen=True):
    """Who brings a token, and what they may do."""

    key_id: UUID
    name: str
    scopes: frozenset[str]


async def bearer_of(tx: Tx, token: str) -> Bearer | None:
    """None if no living key has the token."""
    rows = await sql.api_key(tx, hash=hash_of(token))
    return Bearer(rows[0]["key_id"], rows[0]["name"], frozenset(rows[0]["scopes"])) if rows else None


async def any_made(tx: Tx) -> bool:
    """Has there ever been a key? One that is revoked stays on record, so what is true once stays true."""
    return bool((await sql.any_api_key(tx))[0]["is_there"])


def hash_of(token: str) -> bytes:
    return sha256(token.encode()).digest()
