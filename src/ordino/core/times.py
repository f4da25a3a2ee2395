"""Times that people and systems send: with an offset, and where they can be.

Every instant and every date that comes in lies in the years ``FIRST_YEAR`` to ``LAST_YEAR``, as it is written. What is further away
is a mistake, or a way to say "never" (9999-12-31) that cannot be calculated with. The bound is held where things come in, in one
place for each way in: ``codes.tidy`` for JSON and NDJSON, ``cells.read`` for CSV and queries, ``api/names.py`` for paths,
``cli/terminal.py`` for the command line, and ``read_cursor`` for what a page gave out.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from ordino.core.errors import Invalid

FIRST_YEAR, LAST_YEAR = 1990, 2200
YEARS = "(?:199[0-9]|2[01][0-9]{2}|2200)"
"""A regular expression of the years that may be sent."""
_MAY_BE_FAR = re.compile(rb'"[0-9]{4}-(?<!"199[0-9]-)(?<!"2[01][0-9]{2}-)(?<!"2200-)').search
_BEGINS_WITH_YEAR = re.compile("([0-9]{4})-")
Instant = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
"""An instant whose verb says what is wrong with it when its offset is missing; the document calls it by its format all the same."""
NEEDS_OFFSET = "A time needs its offset, as in 2026-11-27T08:00:00Z."
OVERDUE_DAYS = 366
AHEAD_DAYS = 3660


def may_be_far(body: bytes) -> bool:
    """Does some text in this JSON begin like a date outside of the years? Whether it stands for one only its type can tell."""
    return _MAY_BE_FAR(body) is not None


def year_fault(moment: str | date) -> str | None:
    """What is wrong with the year of an instant or a date, which may be written in ISO 8601 or read already; None if nothing is."""
    if isinstance(moment, str):
        found = _BEGINS_WITH_YEAR.match(moment.lstrip())
        year = FIRST_YEAR if found is None else int(found[1])  # what is no date at all, others complain of
    else:
        year, moment = moment.year, moment.isoformat()
    if FIRST_YEAR <= year <= LAST_YEAR:
        return None
    return (
        f"{moment[:40]} is outside of the years {FIRST_YEAR} to {LAST_YEAR}. Check the year; if something has no end, leave the "
        "field out."
    )


def read_cursor(after: str, *, to: str = "after") -> tuple[datetime, UUID]:
    """The instant and the id that a page gave out as its ``next``, parted by a tilde. Raises ``Invalid`` for anything else."""
    try:
        at, id = after.replace(" ", "+").split("~")
        instant = datetime.fromisoformat(at)
        if instant.tzinfo is None or year_fault(instant):
            raise ValueError(at)
        return instant, UUID(id)
    except ValueError as error:
        raise Invalid(f"`{to}` is the `next` of the page before, unchanged.") from error


def span_fault(name: str, instant: datetime, earliest: datetime, latest: datetime, why: str) -> str | None:
    """What is wrong with a time that must have an offset and lie between two others, ``why`` is said of the span; None if nothing
    is.
    """
    if instant.tzinfo is None:
        return NEEDS_OFFSET
    if earliest <= instant <= latest:
        return None
    return (
        f"`{name}` must be between {earliest:%Y-%m-%d %H:%M:%S} and {latest:%Y-%m-%d %H:%M:%S} UTC ({why}), "
        f"not {instant.isoformat()}. Check the time and its offset."
    )


def expected_fault(instant: datetime, at: datetime, name: str = "expected_at") -> str | None:
    """What is wrong with the time at which goods are expected: it may be a year overdue, and ten years ahead."""
    earliest, latest = at - timedelta(days=OVERDUE_DAYS), at + timedelta(days=AHEAD_DAYS)
    return span_fault(name, instant, earliest, latest, "a year before now and ten after")
