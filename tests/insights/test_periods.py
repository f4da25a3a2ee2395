"""Periods that lie at the ends of time are answered like any other."""

from __future__ import annotations

import pytest

from steps import application, calling

PERIODS = [
    {"until": "0001-01-01T00:00:00Z"},
    {"until": "0001-01-15T00:00:00+14:00"},
    {"since": "9999-12-31T23:59:59-12:00"},
    {"since": "0001-01-01T00:00:00+14:00", "until": "2026-01-01T00:00:00Z"},
    {"since": "2026-01-01T00:00:00Z", "until": "9999-12-31T23:59:59-14:00"},
    {"since": "2199-01-01T00:00:00Z", "until": "2200-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("period", PERIODS)
async def test_a_period_at_the_ends_of_time_is_answered_or_refused(database_url: str, period: dict[str, str]) -> None:
    async with calling(application(database_url)) as http:
        for path in ("/v1/kpis", "/v1/kpis/perfect_order_rate/orders", "/v1/kpis/on_time_shipping_rate/orders"):
            answer = await http.get(path, params=period)
            far = any(instant[:4] in ("0001", "9999") for instant in period.values())
            assert answer.status_code == (400 if far else 200), (path, period, answer.text)
            assert not far or "is outside of the years 1990 to 2200" in answer.json()["detail"]
