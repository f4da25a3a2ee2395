"""A queue of calls, and a clock of the wall that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from outside import AT, queue_of


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Database]:
    async with queue_of(database_url) as database:
        yield database


@pytest.fixture
def wall() -> SimulatedClock:
    return SimulatedClock(AT + timedelta(days=200))
