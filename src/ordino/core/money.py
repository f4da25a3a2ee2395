"""Money: integer minor units and an ISO 4217 code. There is no division; what must be shared is split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct

_CODE = re.compile(r"[A-Z]{3}")

# ISO 4217: the currencies in use, by the decimals of their minor unit.
_DECIMALS = {
    **dict.fromkeys(re.findall("...", "BIFCLPDJFGNFISKJPYKMFKRWPYGRWFUGXUYIVNDVUVXAFXOFXPF"), 0),
    **dict.fromkeys(
        re.findall(
            "...",
            "AEDAFNALLAMDANGAOAARSAUDAWGAZNBAMBBDBDTBGNBMDBNDBOBBRLBSDBTNBWPBYNBZDCADCDFCHFCNYCOPCRCCUPCVECZKDKKDOPDZDEGPERNETB"
            "EURFJDFKPGBPGELGHSGIPGMDGTQGYDHKDHNLHTGHUFIDRILSINRIRRJMDKESKGSKHRKPWKYDKZTLAKLBPLKRLRDLSLMADMDLMGAMKDMMKMNTMOPMRU"
            "MURMVRMWKMXNMYRMZNNADNGNNIONOKNPRNZDPABPENPGKPHPPKRPLNQARRONRSDRUBSARSBDSCRSDGSEKSGDSHPSLESOSSRDSSPSTNSVCSYPSZLTHB"
            "TJSTMTTOPTRYTTDTWDTZSUAHUSDUYUUZSVEDVESWSTXCDXCGYERZARZMWZWG",
        ),
        2,
    ),
    **dict.fromkeys(re.findall("...", "BHDIQDJODKWDLYDOMRTND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


class Money(Struct, frozen=True, order=True):
    """An amount in minor units (cents, yen) of one currency."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.currency):
            raise ValueError(f"{self.currency!r} is not an ISO 4217 code: three capital letters")

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __mul__(self, quantity: int) -> Money:
        return Money(self.minor * quantity, self.currency)

    def split(self, weights: Sequence[int]) -> list[Money]:
        """Shares in proportion to ``weights``; they add up. See ``split_minor``."""
        return [Money(share, self.currency) for share in split_minor(self.minor, weights)]


def split_minor(amount: int, weights: Sequence[int]) -> list[int]:
    """Share ``amount`` in proportion to non-negative ``weights``; the shares add up to it exactly.

    Each share is the difference of two rounded-down running totals, so that no share is more than
    one minor unit away from its proportion and the rule needs no sorting. All-zero weights count as equal.
    """
    total = sum(weights)
    if total == 0:
        weights = [1] * len(weights)
        total = len(weights)
    shares: list[int] = []
    running = given = 0
    for weight in weights:
        running += weight
        upto = amount * running // total
        shares.append(upto - given)
        given = upto
    return shares


def share_of_pool(pool_minor: int, weight: int, weight_left: int) -> int:
    """What ``weight`` out of ``weight_left`` gets of a pool's minor units that are left: rounded down, and all of it at the end.

    Taken out one after the other, in whatever parts, the shares add up to the pool exactly. A weight is a number of units, or any
    other measure of a part of them. Where no weight is left, everything is the share.
    """
    assert 0 <= weight <= max(weight_left, 0), "no more is taken than is left"
    return pool_minor if weight == weight_left else pool_minor * weight // weight_left


def decimals(currency: str) -> int:
    """How many decimals the minor unit of a currency has: USD 2, JPY 0, KWD 3. Of an unknown currency, 2."""
    return _DECIMALS.get(currency, 2)


def is_currency(code: str) -> bool:
    """Whether ISO 4217 knows it."""
    return code in _DECIMALS


def currency_fault(code: str | None) -> str | None:
    """What is wrong with the code of a currency; None if nothing is, or there is none."""
    if code is None or is_currency(code):
        return None
    return f"{code!r} is not an ISO 4217 currency code; write one such as USD."


def converted(minor: int, rate: Fraction, currency: str, into: str) -> int:
    """An amount in minor units of another currency, rounded half to even. ``rate`` is what one whole unit (1 USD) is worth."""
    if currency == into:
        return minor
    return round(minor * rate * Fraction(10) ** (decimals(into) - decimals(currency)))


def amount(minor: int, currency: str) -> str:
    """An amount in words: 1234 and USD become 12.34 USD."""
    places = decimals(currency)
    whole, rest = divmod(abs(minor), 10**places)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole:,}.{rest:0{places}d} {currency}" if places else f"{sign}{whole:,} {currency}"
