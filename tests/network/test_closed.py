"""Which locations are closed, asked of closures that come and go."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from ordino.network.facts.closed import REMEMBERED, Closures
from ordino.network.facts.model import Closed

MONDAY = datetime(2027, 3, 1, 12, tzinfo=UTC)
CHANNELS = (None, 1, 2)


def anyone(dice: random.Random, code: str) -> Closed:
    starts_at = MONDAY + timedelta(hours=dice.randint(0, 20))
    ends_at = None if dice.random() < 0.3 else starts_at + timedelta(hours=dice.randint(1, 10))
    return Closed(code, dice.randint(1, 4), dice.choice(CHANNELS), starts_at, ends_at, code)


def plainly(closures: dict[str, Closed], channel_id: int | None, at: datetime) -> dict[int, Closed]:
    """Looked for one by one: of several, the one that began last."""
    found: dict[int, Closed] = {}
    for one in sorted(closures.values(), key=lambda one: (one.starts_at, one.code)):
        if one.channel_id in (None, channel_id) and one.starts_at <= at and (one.ends_at is None or at < one.ends_at):
            found[one.location_id] = one
    return found


@pytest.mark.parametrize("seed", range(20))
def test_closures_that_change_step_by_step_are_those_that_are_made_at_once(seed: int) -> None:
    dice = random.Random(seed)
    told: dict[str, Closed] = {}
    closures = Closures()
    hours = [MONDAY + timedelta(hours=n) for n in range(-2, 34)]
    for _ in range(40):
        written = {f"c-{dice.randint(1, 12)}" for _ in range(dice.randint(0, 3))}
        gone = {f"c-{dice.randint(1, 14)}" for _ in range(dice.randint(0, 2))} - written
        some = [anyone(dice, code) for code in sorted(written)]
        before, was = closures, closures.all()
        closures = closures.changed(some, sorted(gone))
        told = {code: one for code, one in told.items() if code not in gone} | {one.code: one for one in some}
        assert (closures.all(), before.all()) == (told, was)
        turns = [turn for one in told.values() for turn in (one.starts_at, one.ends_at) if turn is not None]
        for at in dice.sample(hours, 12):
            at += timedelta(minutes=dice.choice((0, 30)))
            for channel_id in CHANNELS:
                assert closures.closed(channel_id, at) == plainly(told, channel_id, at)
            assert closures.last_turn(at) == max((turn for turn in turns if turn <= at), default=None)
            since = at - timedelta(hours=dice.randint(0, 5))
            assert closures.turn_between(since, at) == any(since < turn <= at for turn in turns)


def test_what_is_remembered_of_closures_is_bounded_and_belongs_to_one_thread() -> None:
    some = [Closed(f"c-{n}", n % 7, None, MONDAY + timedelta(hours=n), None, "") for n in range(2 * REMEMBERED)]
    closures = Closures(some)
    for n in range(2 * REMEMBERED):
        closures.closed(1, MONDAY + timedelta(hours=n))
    assert 0 < len(closures._known) <= REMEMBERED
    apart = closures.apart()
    assert not apart._known
    assert apart.closed(1, MONDAY) == closures.closed(1, MONDAY)
