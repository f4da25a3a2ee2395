"""Accounts of the world outside that fail for everybody: a mail server that is away, a provider that refuses the key.

Nothing is sent to a paused account. When its pause ends, one call tries it: it is served again, or paused for twice as long, from
five seconds up to five minutes, and for as long as the account itself asks for (``Retry-After``), up to a day. A call that does not
tell whether the account is there (its answer was lost, or it had nothing to send) leaves it to the next one. A person may end a
pause. The time of a pause is the database's, whatever the clock of the business says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements

sql = statements("ordino.core")
FIRST_SECONDS = 5
LONGEST_SECONDS = 300


class PausedAccount(Struct, frozen=True, kw_only=True):
    """An account that failed for everybody. After ``paused_until``, one call tries it; ``failures`` counts the failures since."""

    account: str
    failing_since: datetime
    paused_until: datetime
    failures: int
    reason: str


class Gate(Struct, frozen=True, kw_only=True):
    """Which of some accounts may be called: not those that are ``closed`` until an instant, and ``tried`` ones once."""

    closed: dict[str, datetime] = {}
    tried: frozenset[str] = frozenset()


OPEN = Gate()


class Undecided(Struct, frozen=True, kw_only=True):
    """An account that somebody was to try until ``until``, and nobody knows whether it serves: from ``again_at`` on another call
    tries it.
    """

    account: str
    until: datetime
    again_at: datetime


async def paused(tx: Tx) -> list[PausedAccount]:
    """All that are paused, or wait for somebody to try them; oldest failure first."""
    return [PausedAccount(**row) for row in await sql.paused_accounts(tx)]


async def gate(tx: Tx, names: Collection[str], *, at: datetime, try_seconds: float) -> Gate:
    """What may be called now. Whoever is told that an account is ``tried`` sends one call to it, which takes up to ``try_seconds``;
    until then it is closed to everybody else.
    """
    pauses = {pause.account: pause.paused_until for pause in await paused(tx) if pause.account in names}
    over = [account for account, until in pauses.items() if until <= at]
    if not over:
        return Gate(closed=pauses) if pauses else OPEN
    until = at + timedelta(seconds=try_seconds)
    tried = frozenset(row["account"] for row in await sql.try_accounts(tx, accounts=over, at=at, until=until))
    closed = {account: max(end, until) if end <= at else end for account, end in pauses.items()}
    return Gate(closed=closed, tried=tried)


async def pause(
    tx: Tx, account: str, reason: str, *, at: datetime, tried: bool, not_before: datetime | None = None
) -> datetime:
    """Pause an account until ``not_before`` at least, and say until when. What fails while it is paused does not prolong the pause,
    unless it was to try it or the account itself asks for a longer one.
    """
    rows = await sql.pause_account(
        tx,
        account=account,
        reason=reason,
        at=at,
        tried=tried,
        not_before=not_before or at,
        first_seconds=FIRST_SECONDS,
        longest_seconds=LONGEST_SECONDS,
    )
    rows = rows or await sql.paused_account(tx, account=account)
    return max((row["paused_until"] for row in rows), default=at)


async def served(tx: Tx, names: Collection[str]) -> None:
    """These accounts serve again."""
    if names:
        await sql.unpause_accounts(tx, accounts=sorted(names))


async def undecided(tx: Tx, left: Sequence[Undecided]) -> None:
    """Others try these accounts, unless somebody has decided on them meanwhile."""
    if left:
        await sql.leave_untried(
            tx,
            accounts=[one.account for one in left],
            untils=[one.until for one in left],
            again_ats=[one.again_at for one in left],
        )


async def try_again(tx: Tx, *, at: datetime) -> None:
    """Whoever starts may have brought other settings: every pause ends now."""
    await sql.end_pauses(tx, at=at)


async def resume_now(tx: Tx, account: str) -> PausedAccount:
    """The same, by the database's time. Raises ``NotFound``."""
    [row] = await sql.database_time(tx)
    return await resume(tx, account, at=row["at"])


async def resume(tx: Tx, account: str, *, at: datetime) -> PausedAccount:
    """A person ends a pause: the next call tries the account now. Raises ``NotFound``."""
    for row in await sql.resume_account(tx, account=account, at=at):
        return PausedAccount(**row)
    names = ", ".join(f"`{pause.account}`" for pause in await paused(tx))
    said = f"Paused are {names}." if names else "No account is paused."
    raise NotFound(f"There is no paused account {account!r}. {said}")
