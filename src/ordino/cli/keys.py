"""``ordino keys``: API keys, what they may do, and what they are narrowed to."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import App, Parameter
from msgspec import structs
from rich.table import Column, Table

from ordino.cli.terminal import Json, Key, change, console, instant, on_database, sent, show
from ordino.core.database import Tx

if TYPE_CHECKING:
    from ordino.core.keys import ApiKey

keys_app = App(name="keys", help="API keys, what they may do, and what they are narrowed to.")


@keys_app.command(name="make")
def make_key(
    name: str,
    *,
    role: Annotated[
        list[str] | None, Parameter(name=["--role", "--scope"], help="read, write or admin; write if nothing is said.")
    ] = None,
    permission: Annotated[
        list[str] | None,
        Parameter(help="A single permission, such as stock.write; `ordino keys permissions` lists them."),
    ] = None,
    seller: Annotated[list[str] | None, Parameter(help="Only for this seller; may be repeated.")] = None,
    location: Annotated[list[str] | None, Parameter(help="Only for this location; may be repeated.")] = None,
    expires: Annotated[
        str | None,
        Parameter(help="Until when it is good, e.g. 2027-01-01; without an offset, in UTC. By default for ever."),
    ] = None,
    key: Key = None,
) -> None:
    """Make a key. Its token is shown once."""
    from ordino.api.keys import MadeKey, make
    from ordino.core.keys import NewKey

    roles = role if role or permission else ["write"]
    body = {"name": name, "roles": roles, "permissions": permission, "sellers": seller, "locations": location}
    wanted = sent({**body, "expires_at": instant(expires)}, NewKey)

    tokens: dict[UUID, str | None] = {}

    async def run(tx: Tx, at: datetime) -> MadeKey:
        made = await make(tx, wanted, at=at)
        tokens[made.key.key_id] = made.token
        return structs.replace(made, token=None)  # a token is kept nowhere

    made = change("keys make", wanted, run, MadeKey, key=key)
    if made.key.key_id not in tokens:
        console.print(f"Key {made.key.key_id}. Its token was shown when it was made.")
        return
    console.print(f"Key {made.key.key_id}. Its token, shown this once:")
    print(tokens[made.key.key_id])


@keys_app.command(name="revoke")
def revoke_key(key_id: UUID, *, key: Key = None) -> None:
    """Revoke a key; it is refused from the next request on, and the jobs that it has started end."""
    from ordino.core import keys

    ended = change("keys revoke", [key_id], lambda tx, at: keys.revoke(tx, key_id, at=at), int, key=key)
    jobs = f" {ended} of its jobs {'ends' if ended == 1 else 'end'}." if ended else ""
    console.print(f"Key {key_id} is revoked.{jobs}")


@keys_app.command(name="list")
def list_keys(*, json: Json = False) -> None:
    """All keys, newest first."""
    from ordino.core import keys

    found = on_database(lambda database: database.read(keys.keys))

    def table() -> Table:
        table = Table(
            Column("key", min_width=36), "name", Column("may", overflow="fold"), Column("only for", overflow="fold"),
            "made", "last used", "expires", "revoked",
        )  # fmt: skip
        for key in found:
            may = " ".join([*key.roles, *key.permissions])
            told = map(_minute, (key.created_at, key.last_used_at, key.expires_at, key.revoked_at))
            table.add_row(str(key.key_id), key.name, may, _only_for(key), *told)
        return table

    show(found, table, json=json)


@keys_app.command(name="permissions")
def list_permissions(*, json: Json = False) -> None:
    """Every permission that a key can have, and the roles that have it."""
    from ordino.api.operations import permissions

    found = permissions()

    def table() -> Table:
        table = Table("permission", Column("what it allows", overflow="fold"), "roles")
        for one in found:
            table.add_row(one.permission, one.meaning, " ".join(one.roles))
        return table

    show(found, table, json=json)


def _minute(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _only_for(key: ApiKey) -> str:
    """What the key is narrowed to, in words."""
    parts = (("sellers", key.sellers), ("locations", key.locations))
    return "; ".join(f"{noun} {', '.join(codes)}" for noun, codes in parts if codes is not None)
