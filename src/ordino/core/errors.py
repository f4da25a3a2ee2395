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
        └── NotYet         something that must come first is still to be done; a reaction waits for it

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
    """A dependency is away, or too busy; the same request may pass later."""

    status = 503
    code = "unavailable"
    title = "Try again later"


class NotYet(Unavailable):
    """What has to come first is still to be done. A reaction that raises it is tried again later, and never given up."""

    code = "not_yet"
