"""DEM-2: the database lets a unit leave a state by the exits that the model declares, and by no other."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import asyncpg

from ordino.core.database import Database
from ordino.orders.model import EXITS, State

AT = datetime(2026, 3, 2, tzinfo=UTC)


async def test_every_pair_of_states_is_judged_as_the_model_says(database: Database) -> None:
    insert = (
        "INSERT INTO orders.moves (order_id, cause_id, line_no, from_state, to_state, quantity, at) "
        "VALUES ($1, $1, 1, $2, $3, 1, $4)"
    )
    for before in State:
        for after in State:
            try:
                await database.pool.execute(insert, uuid4(), before, after, AT)
            except asyncpg.CheckViolationError:
                allowed = False
            else:
                allowed = True
            assert allowed == (after in EXITS[before]), (before, after)
