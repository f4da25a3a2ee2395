"""The HTTP server: Granian in front of the application, one process or several."""

from __future__ import annotations

import errno
import gc
import os
import socket
import time

from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from ordino.core import keys
from ordino.core.database import Database
from ordino.core.errors import OrdinoError
from ordino.core.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
URL_VARIABLE = "ORDINO_DATABASE_URL"
LEAVE_SECONDS = 2.0


class NoKey(OrdinoError):
    """The server would be open to the network."""


class PortTaken(OrdinoError):
    """Somebody listens there already, or nobody can."""


def load_stages() -> None:
    """Make every reaction known, for flows are checked against them, every kind of job, and every adapter of every port."""
    import ordino.aftercare.reactions
    import ordino.api.job_kinds
    import ordino.inventory.reactions
    import ordino.orders.channels
    import ordino.orders.reactions
    import ordino.tracking.carriers
    import ordino.tracking.reactions
    import ordino.warehouse.reactions  # noqa: F401
    from ordino.core import adapters

    adapters.load_all()


def calm_collector() -> None:
    """Batches make many objects and hardly a cycle: look for cycles seldom, and not among what was there at the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def refuse_open_door(database: Database, settings: Settings) -> None:
    """Raises ``NoKey`` where anybody on the network could call."""
    if settings.host not in LOOPBACK and not await database.read(keys.any_made):
        raise NoKey(
            f"Listening on {settings.host} would let anybody in: there is no API key. "
            "Make one with `ordino keys make NAME`, or listen on 127.0.0.1."
        )


def refuse_taken_port(settings: Settings) -> None:
    """Raises ``PortTaken``. The server itself would share the port, and clients would reach one or the other by chance.

    A server that is just ending gets ``LEAVE_SECONDS`` to leave.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    while True:
        try:
            _try_port(settings)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise PortTaken(
                    f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                    "ORDINO_PORT and ORDINO_HOST choose another place."
                ) from error
        time.sleep(0.05)


def _try_port(settings: Settings) -> None:
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def address_of(settings: Settings) -> str:
    """The URL under which this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def serve(settings: Settings, url: str) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered first. A process that ends is started again.

    Raises ``ProcessGivenUp`` where that does not help.
    """
    os.environ[URL_VARIABLE] = url
    from ordino.api.process import application
    from ordino.api.processes import Processes

    Processes(
        "ordino.api.process:application",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=settings.processes,
        log_level=LogLevels.warning,
        log_access=False,
        websockets=False,
        workers_kill_timeout=30,
    ).run(application)
