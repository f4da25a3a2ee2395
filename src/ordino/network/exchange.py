"""Exchange rates: what one whole unit of a currency is worth in another one, from a day on.

A day begins at midnight UTC. Where only the opposite rate is known, its inverse counts. Rates are not chained: EUR to USD and USD
to JPY say nothing of EUR to JPY.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Annotated

from msgspec import Meta, Struct

from ordino.core.database import Tx
from ordino.core.errors import Fault
from ordino.core.money import currency_fault
from ordino.core.statements import statements
from ordino.core.upserts import CurrencyCode, Outcome, hold_network, in_rounds, network_changed, outcome

sql = statements("ordino.network")
ExactRate = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$",
        max_length=25,
        description="A decimal as text, so that it stays exact: 149.25.",
    ),
]


class ExchangeRate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One whole unit of ``from_currency`` is worth ``rate`` whole units of ``to_currency``, from the day ``valid_from`` (UTC) until
    the next rate of the two begins.
    """

    from_currency: CurrencyCode
    to_currency: CurrencyCode
    rate: ExactRate
    valid_from: date

    @property
    def code(self) -> str:
        """As in ``USD-JPY/2026-11-01``."""
        return f"{self.from_currency}-{self.to_currency}/{self.valid_from.isoformat()}"


class Rates:
    """All exchange rates."""

    def __init__(self, rows: Iterable[tuple[str, str, date, str]] = ()) -> None:
        self._rates: dict[tuple[str, str], list[tuple[date, Fraction]]] = {}
        for from_currency, to_currency, valid_from, rate in sorted(rows):
            self._rates.setdefault((from_currency, to_currency), []).append((valid_from, Fraction(rate)))

    def rate(self, currency: str, into: str, at: datetime) -> Fraction | None:
        """What one whole unit is worth on a day; None if nobody knows."""
        if currency == into:
            return Fraction(1)
        day = at.astimezone(UTC).date()
        direct = self._on(currency, into, day)
        if direct is not None:
            return direct
        opposite = self._on(into, currency, day)
        return None if opposite is None else 1 / opposite

    def _on(self, currency: str, into: str, day: date) -> Fraction | None:
        rows = self._rates.get((currency, into), ())
        place = bisect_right(rows, day, key=lambda row: row[0])
        return rows[place - 1][1] if place else None


def in_words(rate: Fraction) -> str:
    """A rate as a decimal of at most 12 digits, for people."""
    with localcontext() as context:
        context.prec = 12
        return f"{(Decimal(rate.numerator) / Decimal(rate.denominator)).normalize():f}"


def rate_fault(rate: ExchangeRate) -> Fault | None:
    for name in ("from_currency", "to_currency"):
        if wrong := currency_fault(getattr(rate, name)):
            return Fault(f"/{name}", wrong)
    if rate.from_currency == rate.to_currency:
        return Fault("/to_currency", "An exchange rate needs two different currencies.")
    if not Fraction(rate.rate):
        return Fault("/rate", "An exchange rate must be more than 0.")
    return None


async def upsert_exchange_rates(tx: Tx, rates: Sequence[ExchangeRate], *, at: datetime) -> list[Outcome]:
    """Each by its two currencies and its first day. What was decided and booked before stays as it is."""
    if not rates:
        return []
    await hold_network(tx)

    async def apply(batch: Sequence[ExchangeRate]) -> list[Outcome]:
        rows = await sql.write_exchange_rates(
            tx,
            from_currencies=[one.from_currency for one in batch],
            to_currencies=[one.to_currency for one in batch],
            valid_froms=[one.valid_from for one in batch],
            rates=[one.rate for one in batch],
        )
        new: Mapping[tuple[str, str, date], bool] = {tuple(row)[:3]: row["new"] for row in rows}
        keys = [(one.from_currency, one.to_currency, one.valid_from) for one in batch]
        return [
            outcome(one.code, new=new.get(key, False), written=key in new) for one, key in zip(batch, keys, strict=True)
        ]

    outcomes = await in_rounds(rates, code=lambda one: one.code, fault=rate_fault, apply=apply)
    await network_changed(tx, outcomes, "exchange_rates", promises=True)
    return outcomes


async def exchange_rates_after(tx: Tx, after: str, limit: int) -> list[ExchangeRate]:
    """One page in order of currencies and days."""
    return [ExchangeRate(**row) for row in await sql.exchange_rates_after(tx, after=after, limit=limit)]


async def all_rates(tx: Tx) -> Rates:
    return Rates([tuple(row) for row in await sql.all_exchange_rates(tx)])
