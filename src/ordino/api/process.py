"""What each server process runs; its settings come from the environment."""

from __future__ import annotations

import logging
import os
from functools import cache

from ordino.api.app import build
from ordino.api.doors import Doors
from ordino.api.server import URL_VARIABLE, calm_collector, load_stages
from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.core.patience import TRY_LATER
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
        try:
            database = await _open(settings)
        except Unavailable as error:
            # The process has nothing to clean up yet, and its end says that it is worth starting again.
            log.error("a server process cannot start, and is started again: %s", error)
            os._exit(TRY_LATER)
        tell_ready()
        return database

    doors = Doors(build(open_database, settings), body_limit_bytes=settings.body_limit_bytes)
    calm_collector()
    return doors


async def _open(settings: Settings) -> Database:
    assert settings.database_url is not None, f"{URL_VARIABLE} is set by whoever starts the server"
    return await Database.of(settings, settings.database_url, plans=flow_plans())
