"""Who sells, where orders come from, and what is sold.

CAT-1  A code names the same thing for ever.
CAT-2  A kit is made of SKUs that are no kits.
CAT-3  A SKU's unit scale never changes: quantities counted in it would change their meaning.
CAT-4  A channel's seller never changes: its customers and orders are that seller's.
CAT-5  How a SKU is tracked never changes: its units have lots or serial numbers from the first one on, or never.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ordino.core.codes import Code, Label
from ordino.core.errors import Fault
from ordino.core.upserts import CurrencyCode, Text

MAX_GRAMS = 100_000_000
MAX_MM = 1_000_000
MAX_COMPONENTS = 1000
MAX_STOP_DAYS = 3650
Millimeters = Annotated[int, Meta(ge=0, le=MAX_MM)]


class Seller(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A brand or legal entity that sells. ``locale`` is a BCP 47 tag."""

    code: Code
    name: Text
    currency: CurrencyCode
    locale: Annotated[str, Meta(pattern="^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)] = "en-US"
    return_window_days: Annotated[int, Meta(ge=0, le=36_500)] = 30


class Channel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where orders come from. ``short_policy`` says what becomes of an order for more than there is. ``payment_provider`` is who
    moves the money of orders that name nobody else.
    """

    code: Code
    name: Text
    seller: Code
    short_policy: Literal["refuse", "backorder", "drop"] = "refuse"
    payment_provider: Code = "manual"


class Sku(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is stocked and sold. Goods by weight or length count in units of 10^-``unit_scale``: with 3, one unit is a thousandth.

    ``weight_grams`` and the sizes are those of one unit, in its package. ``tracking`` by lot or serial number is from receipt to
    return; with ``expiry_required``, every lot has a date. A lot is sold until the end of the day ``stop_selling_days`` before its
    date, in the time zone of the location where it lies; with 0, its date is the last day. Only locations that handle all
    ``handling_classes`` ship it.
    """

    code: Code
    name: Text
    gtin: (
        Annotated[str, Meta(max_length=14, description="8, 12, 13 or 14 digits, the last one a check digit.")] | None
    ) = None
    category: Label | None = None
    weight_grams: Annotated[int, Meta(ge=0, le=MAX_GRAMS)] = 0
    length_mm: Millimeters = 0
    width_mm: Millimeters = 0
    height_mm: Millimeters = 0
    unit_scale: Annotated[int, Meta(ge=0, le=6)] = 0
    backorderable: bool = False
    active: bool = True
    tracking: Literal["none", "lot", "serial"] = "none"
    expiry_required: bool = False
    handling_classes: Annotated[list[Code], Meta(max_length=20)] = []
    stop_selling_days: Annotated[int, Meta(ge=0, le=MAX_STOP_DAYS)] = 0


class Component(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many units of a SKU in one kit."""

    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class Kit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SKU that is made of other SKUs when it is picked. Without components it is an ordinary SKU again."""

    sku: Code
    components: Annotated[list[Component], Meta(max_length=MAX_COMPONENTS)]


def gtin_fault(gtin: str | None) -> Fault | None:
    """Is the check digit right? GS1 General Specifications, section 7.9: weights 3 and 1 from the right, modulo 10."""
    if gtin is None:
        return None
    if len(gtin) not in (8, 12, 13, 14) or not (gtin.isascii() and gtin.isdigit()):
        return Fault("/gtin", f"A GTIN has 8, 12, 13 or 14 digits; {gtin!r} does not.")
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(gtin[:-1])))
    check = -total % 10
    if int(gtin[-1]) != check:
        return Fault("/gtin", f"The check digit of {gtin} should be {check}; a digit was mistyped.")
    return None


def sku_fault(sku: Sku) -> Fault | None:
    """What a SKU says that cannot be: a wrong GTIN, or a last selling day of lots that it does not have."""
    if sku.stop_selling_days and sku.tracking != "lot":
        detail = "Only SKUs that are tracked by lot stop selling before a date; leave it out, or track the SKU by lot."
        return Fault("/stop_selling_days", detail)
    return gtin_fault(sku.gtin)
