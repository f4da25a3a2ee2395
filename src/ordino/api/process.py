"""What each server process runs; its settings come from the environment."""

from __future__ import annotations

from ordino.api.app import build
from ordino.api.doors import Doors
from ordino.api.server import URL_VARIABLE, calm_collector, load_stages
from ordino.core.database import Database
from ordino.core.settings import Settings
from ordino.flows.versions import flow_plans


def application() -> Doors:
    """The doors, and the application behind them."""
    calm_collector()
    load_stages()
    settings = Settings.from_environment()

    async def open_database() -> Database:
        assert settings.database_url is not None, f"{URL_VARIABLE} is set by whoever starts the server"
        return await Database.of(settings, settings.database_url, plans=flow_plans())

    return Doors(build(open_database, settings), body_limit_bytes=settings.body_limit_bytes)
