"""What a key is narrowed to, and whether what a request names lies inside of that.

A key may be narrowed to sellers, to locations, or to both. Each operation says by what it is narrowed (``Narrowing``): an order
has a seller, a fulfillment order a seller and a location, a stock position a location. What a key is narrowed to and an operation
is not, the operation concerns as a whole, and the key may not use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import Forbidden
from ordino.core.keys import Bearer

BEARER: ContextVar[Bearer | None] = ContextVar("bearer", default=None)
"""The key whose request this is; None: this machine, while there is no key."""


class Dimension(StrEnum):
    """What a key may be narrowed to."""

    SELLER = "seller"
    LOCATION = "location"


class Owner(Struct, frozen=True, kw_only=True):
    """Whose a thing is, by codes. None: it has no such owner, and a key that is narrowed to some does not reach it."""

    seller: str | None = None
    location: str | None = None


Key = tuple[Any, ...]
Owners = Callable[[Tx, Sequence[Key]], Awaitable[Sequence[Sequence[Owner]]]]
"""The owners of things by their keys; of a thing that does not exist, none."""


class Narrowing(Struct, frozen=True, kw_only=True):
    """A noun by which operations are narrowed.

    ``dimensions`` are what its things have; a thing is of no owner at all in one of ``free``, and being narrowed to another is
    enough there. ``names`` are the parameters of the path or query, or the fields of an item, that name the thing. Of a thing
    with several owners, a key reaches all, or with ``one_is_enough`` any.
    """

    name: str
    dimensions: frozenset[Dimension] = frozenset()
    free: frozenset[Dimension] = frozenset()
    names: tuple[str, ...] = ()
    owners: Owners | None = None
    missing: str = "There is no such thing."
    one_is_enough: bool = False

    def under(self, *names: str) -> Narrowing:
        """The same, named by other parameters or fields."""
        return Narrowing(
            name=self.name,
            dimensions=self.dimensions,
            free=self.free,
            names=names,
            owners=self.owners,
            missing=self.missing,
            one_is_enough=self.one_is_enough,
        )


WHOLE = Narrowing(name="whole")
"""It concerns everything: no narrowed key may."""
NOBODY = Narrowing(name="nobody", free=frozenset(Dimension))
"""It shows nothing that is anybody's: every narrowed key may."""


class OutOfScope(Struct, frozen=True, kw_only=True, tag_field="outcome", tag="refused"):
    """The key is narrowed, and what the item names is not within that, or does not exist. Nothing was written for it."""

    reason: str = "forbidden"
    detail: str
    pointer: str = ""


def narrowed() -> Bearer | None:
    """The key of this request, if it is narrowed."""
    bearer = BEARER.get()
    return bearer if bearer is not None and bearer.narrowed else None


def sellers() -> list[str] | None:
    """The sellers of which a list may show things; None: all."""
    bearer = BEARER.get()
    return None if bearer is None or bearer.sellers is None else sorted(bearer.sellers)


def locations() -> list[str] | None:
    """The locations of which a list may show things; None: all."""
    bearer = BEARER.get()
    return None if bearer is None or bearer.locations is None else sorted(bearer.locations)


def dimensions_of(bearer: Bearer) -> frozenset[Dimension]:
    """What the key is narrowed to."""
    found = ((Dimension.SELLER, bearer.sellers), (Dimension.LOCATION, bearer.locations))
    return frozenset(dimension for dimension, codes in found if codes is not None)


def refuse_wide(bearer: Bearer, by: Narrowing, filters: frozenset[Dimension]) -> None:
    """Raises ``Forbidden`` if the operation concerns more than the key is narrowed to. ``filters`` are what its handler keeps to by
    itself.
    """
    narrow, held = dimensions_of(bearer), by.dimensions | filters
    wide = narrow - held
    if wide - by.free or (wide and not narrow & held and by.dimensions):
        words = " and ".join(f"{dimension}s" for dimension in sorted(narrow))
        raise Forbidden(
            f"This key is narrowed to {words}, and this concerns others, too. Use a key that is not narrowed to them."
        )


async def inside(tx: Tx, bearer: Bearer, by: Narrowing, keys: Sequence[Key]) -> list[bool]:
    """Of each thing, whether the key reaches it. It reaches nothing that does not exist."""
    assert by.owners is not None, f"{by.name} says whose its things are"
    enough = any if by.one_is_enough else all
    return [
        bool(owners) and enough(_reaches(bearer, by, owner) for owner in owners) for owners in await by.owners(tx, keys)
    ]


def _reaches(bearer: Bearer, by: Narrowing, owner: Owner) -> bool:
    for dimension, codes, code in (
        (Dimension.SELLER, bearer.sellers, owner.seller),
        (Dimension.LOCATION, bearer.locations, owner.location),
    ):
        if codes is not None and dimension in by.dimensions and code not in codes:
            return False
    return True


async def outside(tx: Tx, by: Narrowing, items: Sequence[Any]) -> dict[int, OutOfScope]:
    """The items that the key of this request does not reach, by their place. None, unless it is narrowed."""
    bearer = narrowed()
    if bearer is None or not by.names:
        return {}
    keys = [tuple(getattr(item, name) for name in by.names) for item in items]
    reached = await inside(tx, bearer, by, keys)
    pointer = f"/{by.names[-1]}"
    detail = f"This key is narrowed, and does not reach this {by.name}, if it exists. Use a key that does."
    return {index: OutOfScope(detail=detail, pointer=pointer) for index, reaches in enumerate(reached) if not reaches}


def said(codes: Iterable[str]) -> str:
    """Codes in a sentence."""
    return ", ".join(map(repr, sorted(codes)))
