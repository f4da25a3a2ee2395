"""Leases: work that outlasts a transaction is one worker's as long as that renews its lease.

LEA-1  A lease is compared with the clock of the database, so workers whose clocks differ agree on when it ends, and the business's
       clock does not matter.
LEA-2  Who cannot renew a lease in time stops: its end is counted on the worker's monotonic clock, from before it was asked for.

A worker that was suspended finds out late. What it does on the database is therefore fenced: its last statement in each transaction
asks for the lease, and without it nothing is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from ordino.core.errors import OrdinoError, Unavailable

T = TypeVar("T")


class LeaseLost(OrdinoError):
    """Another worker has taken the work over, or may have."""

    def __init__(self) -> None:
        super().__init__("The lease could not be renewed in time; another worker goes on.")


async def while_leased(
    work: Callable[[], Awaitable[T]], renew: Callable[[], Awaitable[bool]], *, seconds: float, since: float
) -> T:
    """Do ``work`` under a lease of so many ``seconds`` that was asked for at ``since``, on the monotonic clock. Every third of that
    time it is renewed; ``renew`` says False where it is another's. Work is cancelled, and ``LeaseLost`` raised, once the lease is
    lost.
    """
    ends = since + seconds
    working = asyncio.ensure_future(work())
    try:
        while True:
            await asyncio.wait({working}, timeout=max(0.0, min(seconds / 3, ends - monotonic())))
            if working.done():
                return working.result()
            asked = monotonic()
            if asked >= ends:
                raise LeaseLost
            if await _renewed(renew, ends - asked):
                ends = asked + seconds
    finally:
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working


async def _renewed(renew: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether the lease goes on from now; False where the database did not say. Raises ``LeaseLost``."""
    try:
        async with asyncio.timeout(seconds):
            if not await renew():
                raise LeaseLost
        return True
    except (Unavailable, TimeoutError):
        return False
