"""The simulated days: at which instants the demo looks at the world, in the retailer's local time.

Customers order around the clock. Staff of a location work from 7 to 20 on its working days, and carriers collect just before the
cut-off and in the evening. Carriers scan and deliver on the days on which their service works.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ordino.cli.demo.baskets import YEAR, ZONE

LOCAL = ZoneInfo(ZONE)
BUSY_HOURS = (0, 3, 6, *range(7, 24))  # while orders come in
QUIET_HOURS = (7, 9, 13, 17, 20)  # afterwards
SHIFTS = (7, 8, 9, 11, 13, 15, 17, 19)  # when staff take up work
COLLECTIONS = (9, 17)  # when carriers collect
SCANS = (7, 13, 17, 20)  # when carriers send what they know
DAY_OFF = 7  # ISO: Sunday


def month_bounds(month: int) -> tuple[datetime, datetime]:
    """The first instant of the month and of the next one, in UTC."""
    first = date(YEAR, month, 1)
    after = date(YEAR + month // 12, month % 12 + 1, 1)
    return local(first, 0), local(after, 0)


def local(day: date, hour: int) -> datetime:
    """That local hour of the day, in UTC."""
    return datetime.combine(day, time(hour), LOCAL).astimezone(UTC)


def steps(start: datetime, *, busy_until: datetime, until: datetime) -> Iterator[datetime]:
    """The instants to look at: hour by hour while orders come in, a few times a day afterwards."""
    day = start.astimezone(LOCAL).date()
    while (midnight := local(day, 0)) <= until:
        for hour in BUSY_HOURS if midnight <= busy_until else QUIET_HOURS:
            if start < (at := local(day, hour)) <= until:
                yield at
        day += timedelta(days=1)


def hour_of(at: datetime) -> int:
    return at.astimezone(LOCAL).hour


def works(at: datetime) -> bool:
    """Do staff and carriers work on this local day?"""
    return at.astimezone(LOCAL).isoweekday() != DAY_OFF
