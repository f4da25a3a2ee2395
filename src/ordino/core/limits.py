"""How many calls run side by side and how many begin in a second, shared fairly among those who call.

LIM-1  Never more than ``at_once`` run, and two begin at least a ``per_second``-th of a second apart.
LIM-2  Whoever hangs leaves room: where several share places, each finds some, however many the others want.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from ordino.core.errors import Invalid

SOON_SECONDS = 1.0
"""Nothing is taken up that cannot begin within this time."""
PLENTY = 1_000_000


class Limits(Struct, frozen=True, kw_only=True):
    """What an account bears: calls side by side, and calls that begin in a second; None: as many as the kind of effect allows.
    They hold for one worker; several workers have them once each.
    """

    at_once: int | None = None
    per_second: float | None = None

    def __post_init__(self) -> None:
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once is at least 1, not {self.at_once}")
        if self.per_second is not None and not 0 < self.per_second < PLENTY:
            raise ValueError(f"per_second is a number above 0, not {self.per_second}")

    def or_as(self, others: Limits) -> Limits:
        """These; what they leave open is as ``others`` say."""
        return Limits(
            at_once=others.at_once if self.at_once is None else self.at_once,
            per_second=others.per_second if self.per_second is None else self.per_second,
        )


def limits_by_name(text: str) -> dict[str, Limits]:
    """What ORDINO_CALL_LIMITS says: ``acme=8/20,smtp=4`` is 8 calls to acme side by side, of which 20 begin in a second, and 4 to
    smtp. Either number may be left out (``acme=/20``). Raises ``Invalid``.
    """
    found: dict[str, Limits] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, said = (piece.strip() for piece in part.partition("="))
        at_once, _, per_second = (piece.strip() for piece in said.partition("/"))
        if not name or not (at_once or per_second):
            raise Invalid(
                f"{part!r} is not of the form name=at_once/per_second, such as acme=8/20, acme=8 or acme=/20."
            )
        if name in found:
            raise Invalid(f"it names {name!r} twice.")
        try:
            found[name] = Limits(
                at_once=int(at_once) if at_once else None, per_second=float(per_second) if per_second else None
            )
        except ValueError:
            raise Invalid(
                f"{part!r}: calls side by side are a whole number of at least 1, and calls a second a number above 0."
            ) from None
    return found


class Places:
    """Places for calls, shared by users: the accounts of a kind of effect, or the kinds of effects of an account.

    Half of the places are kept for users who have fewer than others, and nobody has more than three quarters. ``shared`` says
    that there may be users that nobody has met yet.
    """

    def __init__(self, limits: Limits, *, shared: bool) -> None:
        self._at_once = limits.at_once or PLENTY
        self._per_second = limits.per_second
        self._shared = shared
        self._held: Counter[str] = Counter()
        self._known: set[str] = set()
        self._taken = 0
        self._next_at = float("-inf")

    def free(self, now: float) -> int:
        """How many may be taken by somebody. ``now`` is of ``elapsed_seconds``."""
        return max(0, min(self._at_once - self._taken, self._turns(now)))

    def room(self, user: str, now: float) -> int:
        """How many this user may take."""
        return max(0, min(self._share(user), self._turns(now)))

    def take(self, user: str, now: float) -> float:
        """Take a place. Returns in how many seconds the call may begin."""
        self._held[user] += 1
        self._known.add(user)
        self._taken += 1
        if self._per_second is None:
            return 0.0
        at = max(now, self._next_at)
        self._next_at = at + 1 / self._per_second
        return at - now

    def leave(self, user: str) -> None:
        """Give a place back."""
        self._held[user] -= 1
        self._taken -= 1

    def wait_seconds(self, now: float) -> float | None:
        """In how many seconds the rate lets a call be taken up; None: it does so now."""
        return None if self._turns(now) else self._next_at - SOON_SECONDS - now + 0.001

    def _turns(self, now: float) -> int:
        if self._per_second is None:
            return PLENTY
        ahead_seconds = max(0.0, self._next_at - now)
        if ahead_seconds >= SOON_SECONDS:
            return 0
        return int((SOON_SECONDS - ahead_seconds) * self._per_second) + 1

    def _share(self, user: str) -> int:
        free = self._at_once - self._taken
        others = len(self._known - {user}) or int(self._shared)
        if not others or self._at_once >= PLENTY:
            return free
        kept_each = self._at_once // (2 * (others + 1))
        kept = 0
        if kept_each:
            met = [self._held[other] for other in self._known if other != user]
            kept = sum(max(0, kept_each - held) for held in met) + kept_each * (others - len(met))
        most = max(1, self._at_once * 3 // 4)
        return min(free - kept, most - self._held[user])
