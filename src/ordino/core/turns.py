"""Whose turn it is to call: accounts that are paused or have no room are passed over, and the others come to their turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ordino.core import accounts
from ordino.core.accounts import OPEN, Gate
from ordino.core.clock import Clock, elapsed_seconds
from ordino.core.database import Database
from ordino.core.effects import Answered, Effect
from ordino.core.leases import Held, Leases
from ordino.core.limits import Limits, Places
from ordino.core.outage import Outage

TRY_SECONDS = 15
"""An account that is tried has so long beyond the time limit of its call before somebody else may try it."""


class Shared:
    """What the calls of one worker share, whatever their kind: its leases, its clock of the wall and the places of accounts."""

    def __init__(
        self,
        database: Database,
        effects: Mapping[str, Effect],
        *,
        wall: Clock,
        batch_size: int,
        lease_seconds: float,
        max_attempts: int,
        outage: Outage,
    ) -> None:
        self.database = database
        self.wall = wall
        self.batch_size = batch_size
        self.max_attempts = max_attempts
        self.outage = outage
        self.leases = Leases(database, seconds=lease_seconds, wall=wall, outage=outage)
        self.accounts: dict[str, Places] = {}
        self._several_kinds = sum(effect.account is not None for effect in effects.values()) > 1

    def places_of(self, account: str, effect: Effect) -> Places:
        """The places of an account, for all kinds of effects that call it."""
        places = self.accounts.get(account)
        if places is None:
            shared = self._several_kinds and effect.one_account is None
            places = self.accounts[account] = Places(effect.limits(account), shared=shared)
        return places


class Asked(Struct, frozen=True, kw_only=True):
    """A task in hand, and what is to be sent for it: a request to ``account``, ``Answered`` or None where nothing is to be sent, or
    why it cannot be.
    """

    held: Held
    request: Any
    account: str | None = None

    @property
    def is_call(self) -> bool:
        return not self.needs_no_call and not isinstance(self.request, Exception)

    @property
    def needs_no_call(self) -> bool:
        return self.request is None or isinstance(self.request, Answered)


class Turn(Struct, frozen=True, kw_only=True):
    """Whether a task may call: ``trying`` is the one call that an account gets whose pause has ended. ``in_seconds`` says when the
    call may begin; None: not now, the account has no place.
    """

    gate: Gate
    trying: bool = False
    in_seconds: float | None = None


class Turns:
    """The places of one kind of effect, and of the accounts that it calls."""

    def __init__(self, kind: str, effect: Effect, shared: Shared) -> None:
        self.kind = kind
        self.effect = effect
        self.shared = shared
        self.several = effect.account is not None and effect.one_account is None
        at_once = min(shared.batch_size, effect.at_once)
        self.places = Places(Limits(at_once=at_once, per_second=effect.per_second), shared=self.several)
        self.crowded = False
        """Did somebody have to stay who may be called as soon as a place is free?"""

    async def one_account(self, account: str, room: int) -> tuple[Gate, int]:
        """Whether the only account may be called, and how often."""
        room = min(room, self.shared.places_of(account, self.effect).room(self.kind, elapsed_seconds()))
        self.crowded = room <= 0
        if self.crowded:
            return OPEN, 0
        gate = await self.gate([account])
        if account in gate.closed:
            room = 1 if account in gate.tried else 0
        return gate, room

    async def look(self) -> tuple[Gate, list[str], dict[str, int]]:
        """Accounts that are paused, those that are passed over because they are or because they have no room, and how much room the
        others have.
        """
        wall_at, now = self.shared.wall.now(), elapsed_seconds()
        pauses = {pause.account: pause.paused_until for pause in await self.shared.database.read(accounts.paused)}
        closed = [account for account, until in pauses.items() if until > wall_at]
        rooms = {
            account: min(places.room(self.kind, now), self.places.room(account, now))
            for account, places in self.shared.accounts.items()
            if account not in closed
        }
        full = [account for account, room in rooms.items() if not room]
        self.crowded = bool(full)
        rooms = {account: 1 if account in pauses else room for account, room in rooms.items() if room}
        return (Gate(closed=pauses) if pauses else OPEN), [*closed, *full], rooms

    async def gate(self, names: Sequence[str]) -> Gate:
        at = self.shared.wall.now()
        try_seconds = TRY_SECONDS + self.effect.call_seconds
        return await self.shared.database.read(lambda tx: accounts.gate(tx, names, at=at, try_seconds=try_seconds))

    def asked(self, held: Held, request: Any) -> Asked:
        if request is None or isinstance(request, Answered | Exception):
            return Asked(held=held, request=request)
        try:
            account = self.effect.account_of(request)
            if account is not None:
                self.shared.places_of(account, self.effect)
        except Exception as error:
            return Asked(held=held, request=error)
        return Asked(held=held, request=request, account=account)

    def give(self, asked: Sequence[Asked], gate: Gate) -> list[Turn]:
        """Whose turn it is: places are taken here."""
        left, turns = set(gate.tried), []
        for one in asked:
            trying = one.account in left
            left.discard(one.account or "")
            shut = one.account in gate.closed and not trying
            seconds = self._take_place(one.account, trying) if one.is_call and not shut else None
            self.crowded = self.crowded or (one.is_call and not shut and seconds is None)
            turns.append(Turn(gate=gate, trying=trying, in_seconds=seconds))
        return turns

    def _take_place(self, account: str | None, trying: bool) -> float | None:
        """In how many seconds this call may begin; None where its account has no place. One that tries it always has one."""
        now, user = elapsed_seconds(), account or ""
        if account is None:
            return self.places.take(user, now)
        places = self.shared.accounts[account]
        if not trying and not (places.room(self.kind, now) and self.places.room(user, now)):
            return None
        return max(places.take(self.kind, now), self.places.take(user, now))

    def leave(self, turn: Turn, account: str | None, *, called: bool) -> None:
        """``called``: the account is free again; without it, the task is settled, too, and its kind has the place."""
        if turn.in_seconds is None:
            return
        if not called:
            self.places.leave(account or "")
        elif account is not None:
            self.shared.accounts[account].leave(self.kind)
