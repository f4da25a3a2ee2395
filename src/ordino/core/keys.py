"""API keys: 256 random bits, shown once and kept as a hash, with roles and permissions.

KEY-1  A key does nothing after it is revoked or has expired. Revoking it ends the jobs that it has started.
KEY-2  A key that is narrowed to sellers or locations touches and shows nothing of others.
KEY-3  A key makes and revokes no key that can do more than itself.
KEY-4  A key that is good names roles and permissions that there are, and sellers and locations that exist.

A key that is narrowed or that expires keeps its roles where programs of before permissions do not look: they let it do nothing,
rather than everything for ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Conflict, Fault, Forbidden, Invalid, NotFound
from ordino.core.ids import new_id
from ordino.core.permissions import Permission, Role, granted
from ordino.core.statements import statements
from ordino.core.times import Instant, span_fault

sql = statements("ordino.core")
PREFIX = "ordino_"
USED_SECONDS = 60
"""``last_used_at`` is written at most so often."""
SCOPED_AT_MOST = 100
LONGEST = timedelta(days=36_525)
NO_GOOD_KEY = "Send an API key that is not revoked: `Authorization: Bearer <key>`. `ordino keys make NAME` makes one."
KEY_REVOKED = "The key that started it was revoked. Start it again with another key for what is left."


class NewKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make: with roles, single permissions, or both. ``sellers`` and ``locations`` narrow it to these; left out, it is for
    all. Without ``expires_at`` it is good until it is revoked.
    """

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]*\S[^\x00]*$")]
    roles: Annotated[list[Role], Meta(max_length=len(Role))] = []
    permissions: Annotated[list[Permission], Meta(max_length=len(Permission))] = []
    sellers: Annotated[list[Code], Meta(min_length=1, max_length=SCOPED_AT_MOST)] | None = None
    locations: Annotated[list[Code], Meta(min_length=1, max_length=SCOPED_AT_MOST)] | None = None
    expires_at: Instant | None = None


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key without its secret. ``sellers`` and ``locations`` are None where it is not narrowed. ``last_used_at`` is a minute old
    at most.
    """

    key_id: UUID
    name: str
    roles: list[str]
    permissions: list[str]
    sellers: list[str] | None
    locations: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @property
    def may(self) -> frozenset[Permission]:
        """All that its roles and permissions come to."""
        return granted(self.roles, self.permissions)


class Bearer(Struct, frozen=True, kw_only=True):
    """Who brings a token, what they may do, and what they are narrowed to: None is everything."""

    key_id: UUID
    name: str
    permissions: frozenset[Permission]
    sellers: frozenset[str] | None = None
    locations: frozenset[str] | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def narrowed(self) -> bool:
        return self.sellers is not None or self.locations is not None


async def make(tx: Tx, name: str, roles: Sequence[str], *, at: datetime) -> tuple[UUID, str]:
    """A key with these roles for everything: its id, and its token, which nobody can read again. Raises ``Invalid``."""
    unknown = [role for role in roles if role not in list(Role)]
    if unknown or not roles:
        raise Invalid(f"A key has roles out of {', '.join(Role)}, not {', '.join(unknown) or 'none'}.")
    return await make_key(tx, NewKey(name=name, roles=[Role(role) for role in roles]), at=at)


async def make_key(tx: Tx, new: NewKey, *, at: datetime) -> tuple[UUID, str]:
    """The key's id, and its token, which nobody can read again. Raises ``Invalid``."""
    if not new.roles and not new.permissions:
        detail = "The key would be allowed nothing; give it `roles`, `permissions` or both."
        raise Invalid(detail, faults=[Fault("", detail)])
    if new.expires_at is not None and (
        wrong := span_fault("expires_at", new.expires_at, at, at + LONGEST, "from now on, within a hundred years")
    ):
        raise Invalid(wrong, faults=[Fault("/expires_at", wrong)])
    token = PREFIX + secrets.token_urlsafe(32)
    key_id = new_id(at)
    whole = new.sellers is None and new.locations is None and new.expires_at is None
    roles = list(dict.fromkeys(map(str, new.roles)))
    await sql.make_api_key(
        tx,
        key_id=key_id,
        name=new.name,
        hash=hash_of(token),
        scopes=roles if whole else [],
        roles=[] if whole else roles,
        permissions=list(dict.fromkeys(map(str, new.permissions))),
        sellers=new.sellers,
        locations=new.locations,
        expires_at=new.expires_at,
        at=at,
    )
    return key_id, token


def refuse_more(maker: Bearer, wanted: NewKey) -> None:
    """Raises ``Forbidden`` if the key would be able to do more than the one that makes it."""
    may = granted(map(str, wanted.roles), map(str, wanted.permissions))
    if more := sorted(may - maker.permissions):
        raise Forbidden(f"This key may give only what it has itself; it lacks {', '.join(more)}.")
    if maker.expires_at is not None and (wanted.expires_at is None or wanted.expires_at > maker.expires_at):
        raise Forbidden(f"This key expires at {maker.expires_at:%Y-%m-%dT%H:%MZ}; one that it makes expires no later.")


async def revoke(tx: Tx, key_id: UUID, *, at: datetime, by: Bearer | None = None) -> int:
    """The key is refused from now on, and what it has started ends: jobs that run before their next rows, others before they begin.
    Returns how many jobs these are.

    Raises ``NotFound`` if there is no such key, ``Conflict`` if it is revoked, ``Forbidden`` if it can do more than ``by``.
    """
    rows = await sql.api_keys(tx, key_ids=[key_id])
    if not rows:
        raise NotFound(f"There is no key {key_id}.")
    key = ApiKey(**rows[0])
    if by is not None and (more := sorted(key.may - by.permissions)):
        raise Forbidden(f"This key may not revoke a key that can do more than itself; it lacks {', '.join(more)}.")
    if not await sql.revoke_api_key(tx, key_id=key_id, at=at):
        raise Conflict(f"The key {key_id} is revoked already.")
    ended = await sql.cancel_jobs_of_key(tx, key_id=key_id, error=KEY_REVOKED)
    for row in ended:
        if row["state"] == "cancelled":
            await sql.forget_inputs(tx, job_id=row["job_id"])
    return len(ended)


async def refuse_revoked(tx: Tx, key_id: UUID | None) -> None:
    """Raises ``Forbidden`` if the key is revoked. It is not until this transaction ends, so this comes last in it."""
    if key_id is not None and not await sql.share_api_key(tx, key_id=key_id):
        raise revoked()


def revoked() -> Forbidden:
    """What whoever brings no key that is good is answered with (401)."""
    error = Forbidden(NO_GOOD_KEY, code="unauthorized")
    error.status = 401
    return error


async def keys(tx: Tx) -> list[ApiKey]:
    """All keys, newest first."""
    return [ApiKey(**row) for row in await sql.api_keys(tx, key_ids=None)]


async def key_of(tx: Tx, key_id: UUID) -> ApiKey:
    """Raises ``NotFound``."""
    rows = await sql.api_keys(tx, key_ids=[key_id])
    if not rows:
        raise NotFound(f"There is no key {key_id}.")
    return ApiKey(**rows[0])


async def bearer_of(tx: Tx, token: str) -> Bearer | None:
    """None if no key has the token, or it is revoked. Whether it has expired is for the caller to see."""
    rows = await sql.api_key(tx, hash=hash_of(token))
    if not rows:
        return None
    row = rows[0]
    return Bearer(
        key_id=row["key_id"],
        name=row["name"],
        permissions=granted(row["roles"], row["permissions"]),
        sellers=None if row["sellers"] is None else frozenset(row["sellers"]),
        locations=None if row["locations"] is None else frozenset(row["locations"]),
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )


async def note_use(tx: Tx, key_id: UUID, *, at: datetime) -> None:
    """Write that the key was used, unless that was written within the last minute."""
    await sql.note_use(tx, key_id=key_id, at=at, before=at - timedelta(seconds=USED_SECONDS))


async def any_made(tx: Tx) -> bool:
    """Has there ever been a key? One that is revoked stays on record, so what is true once stays true."""
    return bool((await sql.any_api_key(tx))[0]["is_there"])


def hash_of(token: str) -> bytes:
    return sha256(token.encode()).digest()
