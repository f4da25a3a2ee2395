"""Problem documents (RFC 9457): what a request is answered with that is refused or fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ordino.core.errors import Fault, Invalid, OrdinoError, Refused

PROBLEM = "application/problem+json"
INVALID_STATUS = 400
REFUSED_STATUS = 422


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document. ``errors`` point into the request with JSON pointers."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    facts: dict[str, Any] = {}


def problem_of(error: OrdinoError) -> Problem:
    """The document that an error becomes."""
    status: int = getattr(error, "status", 500)
    code: str = getattr(error, "code", "error")
    faults = error.faults if isinstance(error, Refused) else ()
    facts = error.facts if isinstance(error, Refused) else {}
    return Problem(f"urn:ordino:problem:{code}", getattr(error, "title", ""), status, str(error), faults, facts)


def too_large(detail: str) -> Invalid:
    error = Invalid(detail, code="too_large")
    error.status, error.title = 413, "The body is too large"
    return error


def as_error(refused: Any, statuses: Mapping[str, int] = {}) -> Refused:
    """A refusal of a single request, which is raised where a batch would carry it as a value. ``statuses`` has the HTTP status of
    some reasons; of others it is 422, and 400 of `invalid`.
    """
    pointer: str = getattr(refused, "pointer", "")
    facts: dict[str, Any] = getattr(refused, "facts", {})
    error = Refused(refused.detail, code=str(refused.reason), faults=[Fault(pointer, refused.detail)], facts=facts)
    reason = str(refused.reason)
    error.status = statuses.get(reason, INVALID_STATUS if reason == "invalid" else REFUSED_STATUS)
    return error
