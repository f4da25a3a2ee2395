"""What each server process runs; its settings come from the environment."""

from __future__ import annotations

import logging
from functools import cache

from ordino.api.app import build
from ordino.api.doors import Doors
from ordino.api.server import URL_VARIABLE, calm_collector, load_stages
from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.core.ready import tell_ready
from ordino.core.settings import Settings
from ordino.flows.versions import flow_plans

log = logging.getLogger("ordino.api")


@cache
def application() -> Doors:
    """The doors, and the application behind them.

    Built once, before the server forks its processes, so that one that ended is replaced in a moment.
    """
    load_stages()
    settings = Settings.from_environment()

    async def open_database() -> Database:
        database = await open_or_wait(settings)
        tell_ready()
        return database

    doors = Doors(build(open_database, settings), body_limit_bytes=settings.body_limit_bytes)
    calm_collector()
    return doors


async def open_or_wait(settings: Settings) -> Database:
    """The database; where it is away, what will be it. A process that replaces another during an outage answers as the others do:
    503 until the database is there again, and at once then.
    """
    assert settings.database_url is not None, f"{URL_VARIABLE} is set by whoever starts the server"
    try:
        return await Database.of(settings, settings.database_url, plans=flow_plans())
    except Unavailable as error:
        log.error("a server process starts without its database, and answers 503 until it is there: %s", error)
        return await Database.of(settings, settings.database_url, plans=flow_plans(), ask=False)
