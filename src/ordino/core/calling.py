"""One call to the world outside, which ends in time whatever its adapter does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ordino.core.errors import AnswerLost
from ordino.core.failures import MAY_HAVE_BEEN_DONE

log = logging.getLogger("ordino.reactions")
END_SECONDS = 5.0
"""So long a call that was told to end may take to do so."""


async def answer_within(call: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    """The answer of ``call``, which is told to end after so many seconds, and left alone if it does not.

    Raises what the call raises; ``AnswerLost`` at the limit, and for a call that was broken off from inside.
    """
    calling = asyncio.create_task(_made(call))
    try:
        await asyncio.wait({calling}, timeout=seconds)
        late = not calling.done()
        if late:
            calling.cancel()
            await asyncio.wait({calling}, timeout=END_SECONDS)
    finally:
        calling.cancel()
    if not calling.done():
        log.error("a call goes on although its time of %g seconds is over and it was told to end: %r", seconds, calling)
        calling.add_done_callback(_forget)
        raise _late(seconds)
    if calling.cancelled():
        raise _late(seconds) if late else AnswerLost(f"The call was broken off from inside. {MAY_HAVE_BEEN_DONE}")
    error = calling.exception()
    if error is None:
        return calling.result()
    if late:
        raise _late(seconds) from error
    raise error


async def _made(call: Callable[[], Awaitable[Any]]) -> Any:
    """What would end the program (``SystemExit``) ends the call."""
    try:
        return await call()
    except (Exception, asyncio.CancelledError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AnswerLost(f"The adapter ended with {type(error).__name__}. {MAY_HAVE_BEEN_DONE}") from error


def _late(seconds: float) -> AnswerLost:
    return AnswerLost(f"There was no answer within {seconds:g} seconds. {MAY_HAVE_BEEN_DONE}")


def _forget(calling: asyncio.Task[Any]) -> None:
    """Nobody waits for what a call says that ended too late."""
    with suppress(BaseException):
        calling.exception()
