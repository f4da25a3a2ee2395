"""Kinds of events that only tests write. They are declared while a test asks for it, so that no other test finds them among the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import UNSET, UnsetType

from ordino.core.payloads import KINDS, Declared, Payload


class Played(Payload):
    """What a test says of it."""

    n: int | UnsetType = UNSET
    account: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Happened(Played, kind="happened"):
    """Something happened."""


class ElseHappened(Played, kind="else_happened"):
    """Something else happened."""


class Called(Played, kind="called"):
    """Something calls the world outside."""


class Other(Played, kind="other"):
    """Something calls another one."""


class Later(Played, kind="later"):
    """Something is called later."""


class Rare(Played, kind="rare"):
    """Something that seldom happens."""


class Common(Played, kind="common"):
    """Something that often happens."""


class Raced(Played, kind="raced"):
    """Something that happens beside others."""


TYPES: dict[str, type[Played]] = {
    one.kind: one for one in (Happened, ElseHappened, Called, Other, Later, Rare, Common, Raced)
}
DECLARED = {kind: Declared.of(one) for kind, one in TYPES.items()}


@contextmanager
def played() -> Iterator[None]:
    """They may be written and followed."""
    KINDS.update(DECLARED)
    try:
        yield
    finally:
        for kind in DECLARED:
            KINDS.pop(kind, None)
