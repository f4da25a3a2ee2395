"""What can go wrong, and whose move it is.

    OrdinoError
    ├── Refused            an expected no: the caller can do something about it (4xx)
    │   ├── Invalid        the request itself is wrong; names the fields (400)
    │   ├── NotFound       no such thing (404)
    │   ├── Conflict       the thing is in another state, or the key is taken (409)
    │   ├── UnsupportedMedia   the body is written in a way that is not read here (415)
    │   ├── TimedOut       the body did not come in time (408)
    │   └── Forbidden      no key, or a key without the scope (401, 403)
    └── Unavailable        a dependency is away; try again (503)
        ├── NotYet         something that must come first is still to be done; a reaction waits for it
        ├── AnswerLost     it was asked and did not answer in words: it may have been done; the same key asks again
        ├── AccountUnavailable  a mail server or provider fails for everybody; nothing is sent there for a while
        └── Away           the database is away; nothing was changed (503)
            └── OutcomeUnknown   it did not answer the commit: send the request again with the same key (503)

Anything else is a bug: it is logged once, with its context, and answered with 500.
In a batch a refusal is a value, not a raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct


class Fault(Struct, frozen=True):
    """One thing that is wrong, and where: ``pointer`` is a JSON pointer into the request."""

    pointer: str
    detail: str


class OrdinoError(Exception):
    """The root of everything that Ordino raises on purpose."""


class Refused(OrdinoError):
    """An expected no. ``detail`` tells the caller what to do."""

    status = 422
    code = "refused"
    title = "The request was refused"

    def __init__(
        self, detail: str, *, code: str | None = None, faults: Sequence[Fault] = (), facts: dict[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.faults = tuple(faults)
        self.facts = facts or {}


class Invalid(Refused):
    status = 400
    code = "invalid"
    title = "The request is not valid"


class NotFound(Refused):
    status = 404
    code = "not_found"
    title = "There is no such thing"


class Conflict(Refused):
    status = 409
    code = "conflict"
    title = "The request conflicts with what is there"


class Forbidden(Refused):
    status = 403
    code = "forbidden"
    title = "This key may not do that"


class UnsupportedMedia(Refused):
    status = 415
    code = "unsupported_media_type"
    title = "The body cannot be read"


class TimedOut(Refused):
    status = 408
    code = "timed_out"
    title = "The body did not come in time"


class Unavailable(OrdinoError):
    """A dependency is away, or too busy; the same request may pass later. ``retry_after_seconds`` is how long it wants to be left
    alone, if it said so.
    """

    status = 503
    code = "unavailable"
    title = "Try again later"

    def __init__(self, detail: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Away(Unavailable):
    """The database is away or cannot write now. What was to be done is undone: the same request may pass later."""


UNDONE = "Nothing was changed; try again."
NOT_KNOWN = (
    "It is not known whether this request took effect: the database did not answer the commit. Send the same request again with "
    "the same Idempotency-Key (orders: with the same external_id) and you get the outcome, whichever it was, once. If you "
    "sent no key, look first whether it took effect."
)


class OutcomeUnknown(Away):
    """The commit was sent and not answered: it may have taken effect."""

    code = "outcome_unknown"
    title = "The outcome is not known"

    def __init__(self, detail: str = NOT_KNOWN) -> None:
        super().__init__(detail)


def broken_off(error: Unavailable, said: str) -> Unavailable:
    """The same trouble of a request of many transactions, of which some are durable: ``said`` tells of those."""
    if isinstance(error, OutcomeUnknown):
        return OutcomeUnknown(
            f"The database did not answer a commit: it is not known whether its rows took effect. {said}"
        )
    kind = Away if isinstance(error, Away) else Unavailable
    return kind(f"{str(error).removesuffix(UNDONE)}{said}")


class NotYet(Unavailable):
    """What has to come first is still to be done. A reaction that raises it is tried again later, and never given up."""

    code = "not_yet"


class AnswerLost(Unavailable):
    """Somebody outside was asked, and the answer did not come or cannot be read: it is not known whether it was done. The same call
    with the same key is made again.
    """

    code = "answer_lost"


class AccountUnavailable(Unavailable):
    """A mail server, a provider or another account outside fails whatever it is asked: it is away, or refuses our password. It is
    paused, and no attempt is counted of what was to be sent there. The message says what failed and what to check.
    """

    code = "account_unavailable"
