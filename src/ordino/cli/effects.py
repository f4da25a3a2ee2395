"""``ordino effects``: calls to providers and mail servers, and the accounts that are paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App
from rich.console import Group
from rich.table import Column, Table

from ordino.cli.terminal import Json, Key, change, console, on_database, show
from ordino.core import accounts
from ordino.core.accounts import PausedAccount
from ordino.core.failures import MEANS, Failure

if TYPE_CHECKING:
    from ordino.api.effects import Effects

effects_app = App(
    name="effects", help="Calls to providers and mail servers: who takes them, what waits, what is paused."
)


@effects_app.default
def show_effects(*, json: Json = False) -> None:
    """Which calls to providers and mail servers workers take, what waits for a worker, and which accounts are paused."""
    from ordino.api.effects import effects

    found = on_database(lambda database: database.read(lambda tx: effects(tx, at=database.clock.now())))
    show(found, lambda: Group(_kinds(found), *([_paused(found)] if found.paused_accounts else [])), json=json)


@effects_app.command(name="resume")
def resume_account(account: str, *, key: Key = None) -> None:
    """End the pause of an account: the next call tries it now."""
    resumed = change("effects resume", account, lambda tx, _: accounts.resume_now(tx, account), PausedAccount, key=key)
    console.print(f"The {resumed.account} is tried by the next call.", soft_wrap=True, markup=False)


def _kinds(found: Effects) -> Table:
    table = Table("effect", "taken by a worker", "being called", "due", "since", "tried again")
    for effect in found.effects:
        since = f"{effect.due_since:%Y-%m-%d %H:%M}" if effect.due_since else ""
        failing = "; ".join(f"{count}: {MEANS[Failure(code)]}" for code, count in effect.failing.items())
        taken = "yes" if effect.taken else "no"
        table.add_row(effect.kind, taken, str(effect.calling), str(effect.due), since, failing)
    return table


def _paused(found: Effects) -> Table:
    table = Table(Column("paused account", overflow="fold"), "since", "until", "failures", "why", title_justify="left")
    for pause in found.paused_accounts:
        since, until = f"{pause.failing_since:%Y-%m-%d %H:%M:%S}", f"{pause.paused_until:%Y-%m-%d %H:%M:%S}"
        table.add_row(pause.account, since, until, str(pause.failures), pause.reason)
    return table
