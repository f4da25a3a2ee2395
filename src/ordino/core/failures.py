"""How reactions and effects fail: a code that the queue keeps, and what it means to a person."""

from __future__ import annotations

import json
import math
import socket
from enum import StrEnum

import msgspec

from ordino.core.errors import AccountUnavailable, AnswerLost, NotYet, Refused, Unavailable

ERROR_CHARACTERS = 2000
LONGEST_RETRY_SECONDS = 86_400
"""Nobody outside can make a task wait for longer than a day."""
MAY_HAVE_BEEN_DONE = "It may have been done; it is called again with the same key."
WORKER_GONE = f"The worker that called ended, or lost the database. {MAY_HAVE_BEEN_DONE}"


class Failure(StrEnum):
    """How something failed the last time."""

    REFUSED = "refused"  # It will never be done as it was asked for.
    ANSWER_LOST = "answer_lost"  # It was sent, and nobody knows what became of it.
    UNAVAILABLE = "unavailable"  # It could not be reached, or does not serve now: nothing was done.
    FAULT = "fault"  # Ordino or an adapter has a fault there.
    NOT_WRITTEN_DOWN = "not_written_down"  # It was answered, and writing the answer down failed.


MEANS: dict[Failure, str] = {
    Failure.REFUSED: "refused",
    Failure.ANSWER_LOST: "the answer was lost: it may have been done",
    Failure.UNAVAILABLE: "could not be reached",
    Failure.FAULT: "a fault in Ordino or an adapter",
    Failure.NOT_WRITTEN_DOWN: "it was answered, and the answer could not be written down: it may have been done",
}


def failure_of(error: BaseException, *, called: bool = False) -> Failure | None:
    """The code of an error; None for what only waits. ``called``: it was raised by a call to the world outside."""
    match error:
        case NotYet():
            return None
        case Refused():
            return Failure.REFUSED
        case AnswerLost():
            return Failure.ANSWER_LOST
        case Unavailable() | ConnectionRefusedError() | socket.gaierror():
            return Failure.UNAVAILABLE
        case OSError() | EOFError() | msgspec.DecodeError() | json.JSONDecodeError() if called:  # cut off, or garbage
            return Failure.ANSWER_LOST
        case OSError():
            return Failure.UNAVAILABLE
    return Failure.FAULT


def words_of(error: BaseException) -> str:
    """An error as the database keeps it, at most ``ERROR_CHARACTERS``: whatever somebody outside wrote, PostgreSQL can store it."""
    if isinstance(error, Refused):
        words = error.detail
    elif isinstance(error, AccountUnavailable | AnswerLost) and str(error):
        words = str(error)
    else:
        words = f"{type(error).__name__}: {error}"
    return words[:ERROR_CHARACTERS].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def retry_after_seconds(error: BaseException) -> float:
    """So long whoever failed wants to be left alone: from 0 to a day, whatever they said."""
    asked = getattr(error, "retry_after_seconds", None) if isinstance(error, Unavailable) else None
    if asked is None or math.isnan(asked):
        return 0.0
    return float(min(max(asked, 0), LONGEST_RETRY_SECONDS))
