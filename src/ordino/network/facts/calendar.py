"""When locations work, when parcels leave and when they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache

from holidays import country_holidays

from ordino.network.facts.model import Location, Pickups
from ordino.network.rates import Service

MEMO_LIMIT = 100_000
YEAR_DAYS = 366
YEARS = 4096
"""So many holiday calendars, each of one year, are kept in memory."""
DELIVERED_BY = time(20, 0)  # a parcel that arrives on a day is promised for the end of the delivery round


class Calendar:
    """The hours of locations, pickups and carriers. It remembers its answers, for one thread."""

    def __init__(self, locations: Mapping[int, Location], services: Mapping[int, Service], pickups: Pickups) -> None:
        self._locations = locations
        self._services = services
        self._pickups = pickups
        self.left: dict[tuple[int, int | None, int], tuple[datetime, datetime, datetime, datetime]] = {}
        self.arrived: dict[tuple[int, int, datetime, int], datetime] = {}

    def apart(self) -> Calendar:
        """The same calendar with memos of its own."""
        return Calendar(self._locations, self._services, self._pickups)

    def works(self, location: Location, day: date) -> bool:
        """Whether anything leaves a location on a day."""
        return day.isoweekday() in location.working_days and not is_holiday(location.holidays, day)

    def ship_by(self, location_id: int, at: datetime, service_id: int | None = None, after: int = 0) -> datetime:
        """What is asked for at ``at`` is late if it leaves after that. Its work is done by the next cut-off on a working day, as
        many working days later as processing takes, and ``after`` more. Where a carrier collects for the service, it leaves at the
        first pickup from then on; elsewhere until ``ships_until`` of that day.
        """
        return self._leaves(location_id, at, service_id, after)[2]

    def ready_at(self, location_id: int, at: datetime, service_id: int | None = None, after: int = 0) -> datetime:
        """When what is asked for at ``at`` leaves at the earliest by plan: at its pickup, or else from the cut-off on."""
        return self._leaves(location_id, at, service_id, after)[3]

    def _leaves(
        self, location_id: int, at: datetime, service_id: int | None, after: int
    ) -> tuple[datetime, datetime, datetime, datetime]:
        """The first and the last instant at which the answer is this one, the ship-by time, and when it is ready to leave."""
        collected = self._pickups.get((location_id, service_id)) if service_id is not None and self._pickups else None
        key = (location_id, service_id if collected else None, after)
        window = self.left.get(key)
        if window is not None and window[0] <= at <= window[1]:
            return window
        location = self._locations[location_id]
        day = at.astimezone(location.zone).date()
        # Instants are compared: where clocks are put back, a local time comes twice, and where they are put forward, not at all.
        if at > datetime.combine(day, location.cut_off, location.zone).astimezone(UTC):
            day += timedelta(days=1)
        day = first = self._working_day(location, day)
        for _ in range(location.processing_days + after):
            day = self._working_day(location, day + timedelta(days=1))
        ready = ship_by = datetime.combine(day, location.cut_off, location.zone)
        if collected and service_id is not None:
            ready = ship_by = self._collection(location, self._services[service_id], collected, ready)
        else:
            ship_by = max(ready, datetime.combine(day, location.ships_until, location.zone))
        until = datetime.combine(first, location.cut_off, location.zone).astimezone(UTC)
        window = self.left[key] = (at, until, ship_by.astimezone(UTC), ready.astimezone(UTC))
        return window

    def cut_off_of_day(self, location_id: int, at: datetime) -> datetime:
        """The location's cut-off on the local day of an instant."""
        location = self._locations[location_id]
        return datetime.combine(at.astimezone(location.zone).date(), location.cut_off, location.zone).astimezone(UTC)

    def cut_off_at(self, location_id: int, at: datetime) -> datetime:
        """The cut-off by which an order has to come for what ``ship_by`` says of ``at``."""
        return self._leaves(location_id, at, None, 0)[1]

    def _working_day(self, location: Location, day: date) -> date:
        """The first working day from this one on."""
        for _ in range(YEAR_DAYS):
            if self.works(location, day):
                return day
            day += timedelta(days=1)
        return day

    def _collection(
        self, location: Location, service: Service, pickups: Sequence[tuple[frozenset[int], time]], ready: datetime
    ) -> datetime:
        """The first pickup at or after a local time, on a day on which the location works and the carrier keeps no holiday."""
        for days in range(YEAR_DAYS):
            day = ready.date() + timedelta(days=days)
            times = [at for weekdays, at in pickups if day.isoweekday() in weekdays and (days or at >= ready.time())]
            if times and self.works(location, day) and not is_holiday(service.holidays, day):
                return datetime.combine(day, min(times), location.zone)
        return ready

    def pickup_ready_at(self, location_id: int, at: datetime) -> datetime:
        """When a customer can collect what is ordered at ``at``: so many minutes later within opening hours of a working day. What
        would be ready after closing is ready as long after the next opening.
        """
        location = self._locations[location_id]
        local = at.astimezone(location.zone)
        takes = timedelta(minutes=location.pickup_ready_minutes)
        day = local.date()
        for _ in range(YEAR_DAYS):
            opens = datetime.combine(day, location.opens, location.zone)
            closes = datetime.combine(day, location.closes, location.zone)
            ready = max(opens, local) + takes
            if self.works(location, day) and ready <= closes:
                return ready.astimezone(UTC)
            day += timedelta(days=1)
            if takes > closes - opens:  # longer than a day: ready at the end of it
                takes -= closes - opens
        return ready.astimezone(UTC)

    def arrives_at(self, location_id: int, service_id: int, ship_by_at: datetime, transit_days: int) -> datetime:
        """The end of the delivery day: ``transit_days`` working days of the service after the day of shipping."""
        key = (location_id, service_id, ship_by_at, transit_days)
        arrives = self.arrived.get(key)
        if arrives is None:
            zone = self._locations[location_id].zone
            service = self._services[service_id]
            day = ship_by_at.astimezone(zone).date()
            left = transit_days
            for _ in range(transit_days + YEAR_DAYS):
                moves = day.isoweekday() in service.working_days and not is_holiday(service.holidays, day)
                if left <= 0 and moves:
                    break
                day += timedelta(days=1)
                if day.isoweekday() in service.working_days and not is_holiday(service.holidays, day):
                    left -= 1
            arrives = datetime.combine(day, DELIVERED_BY, zone).astimezone(UTC)
            if len(self.arrived) > MEMO_LIMIT:
                self.arrived.clear()
            self.arrived[key] = arrives
        return arrives


@lru_cache(YEARS)
def days_off(name: str, year: int) -> frozenset[date]:
    """A year of a calendar, made as a whole: one that fills itself as it is asked is wrong while another thread fills it. The years
    beside it count, too, because a holiday may be kept on a day of another year.
    """
    country, _, part = name.partition("-")
    years = [one for one in (year - 1, year, year + 1) if MINYEAR <= one <= MAXYEAR]
    found = country_holidays(country, subdiv=part or None, years=years, expand=False)
    return frozenset(day for day in found if day.year == year)


def is_holiday(calendar: str | None, day: date) -> bool:
    return calendar is not None and day in days_off(calendar, day.year)
