"""How reactions and effects fail: a code that the queue keeps, and what it means to a person."""

from __future__ import annotations

import json
import math
import socket
from enum import StrEnum

import msgspec

from ordino.core.errors import AccountUnavailable, AnswerLost, NotYet, Refused, Unavailable

ERROR_CHARACTERS = 2000
LONGEST_RETRY_SECONDS = 86_400.0
"""Nobody outside can make a task wait for longer than a day."""
MAY_HAVE_BEEN_DONE = "It may have been done; it is called again with the same key."
WORKER_GONE = f"The worker that called ended, or lost the database. {MAY_HAVE_BEEN_DONE}"


class Failure(StrEnum):
    """How something failed the last time. What may have been done stays so until it is answered."""

    REFUSED = "refused"  # It will never be done as it was asked for.
    ANSWER_LOST = "answer_lost"  # It was sent, and nobody knows what became of it.
    UNAVAILABLE = "unavailable"  # It could not be reached, or does not serve now: nothing was done.
    FAULT = "fault"  # Ordino or an adapter has a fault there.
    NOT_WRITTEN_DOWN = "not_written_down"  # It was answered, and writing the answer down failed.


MEANS: dict[Failure, str] = {
    Failure.REFUSED: "refused",
    Failure.ANSWER_LOST: "the answer was lost: it may have been done",
    Failure.UNAVAILABLE: "could not be reached",
    Failure.FAULT: "a fault in Ordino or an adapter: if it was called, it may have been done",
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


DOUBTFUL = frozenset({Failure.ANSWER_LOST, Failure.NOT_WRITTEN_DOWN})
"""It may have been done."""


def remembered(before: str | None, now: Failure | None) -> Failure | None:
    """What the queue keeps of a task that failed like this ``before``, and does ``now``. What may have been done stays so, whatever
    comes of later calls, until one of them is answered.
    """
    if before is None or now in (Failure.REFUSED, Failure.NOT_WRITTEN_DOWN):
        return now
    known = Failure(before)
    return known if known in DOUBTFUL else now


def words_of(error: BaseException) -> str:
    """An error as the database keeps it, at most ``ERROR_CHARACTERS``: whatever somebody outside wrote, PostgreSQL can store it."""
    name = type(error).__name__
    try:
        said = str(error.detail if isinstance(error, Refused) else error)
    except Exception:
        said = "it cannot say what happened"
    whole = isinstance(error, Refused) or (isinstance(error, AccountUnavailable | AnswerLost) and said)
    words = said if whole else f"{name}: {said[:ERROR_CHARACTERS]}"
    return words[:ERROR_CHARACTERS].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def retry_after_seconds(error: BaseException) -> float:
    """So long whoever failed wants to be left alone: from 0 to a day, whatever they said."""
    asked = getattr(error, "retry_after_seconds", None) if isinstance(error, Unavailable) else None
    try:
        seconds = 0.0 if asked is None else float(asked)
    except (TypeError, ValueError):  # an adapter passed on what it was sent
        return 0.0
    except OverflowError:
        return LONGEST_RETRY_SECONDS
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_SECONDS)
