"""Orders, their lines, and the two ledgers that follow them: demand and money.

DEM-1  Every ordered unit is in exactly one state.
DEM-2  A unit changes its state only through an exit of the state it is in.
DEM-3  A line's counts are the sums of its moves, and an order's counts the sums over its lines.
DEM-4  A channel's order is placed once, however often it is sent.
DEM-5  What a line has allocated is what it holds in stock, location by location.
DEM-6  A release waits only for units that stay at a location that is closed for the order's channel.
DEM-7  An order's total less what was dropped at placement is what it was accepted for.
MON-1  Captured and voided never exceed what was authorized.
MON-2  Refunded never exceeds captured.
MON-3  A payment's amounts are the sums of its moves.
MON-4  An order's total is the amounts of its lines and its net shipping, and nothing more is authorized.
MON-5  No more is captured, voided or refunded than units and shipping were charged, are no longer owed, or are to be given back;
       and no less, once nothing of it waits.
MON-6  What a line charged, no longer owes and gives back is what its moves and its refunds say.
MON-7  Units that are no longer owed or were given back are the cancelled and returned ones, and what the customer has was charged.
MON-8  With its last unit, all of a line's amount is charged or no longer owed, and all that was charged is given back; with an
       order's last unit cancelled, its shipping, too.
MON-9  A unit that is lost or cancelled after parts of other units of its line came back is refunded its own share.
MON-10 A payment's token is kept until the money is authorized, in one table that nothing shows, and in no event, log, explanation,
       export or error.
MON-11 No more is authorized than the order was accepted for, but where an authorization that was made elsewhere was taken over: it
       is at most the order's total, and what exceeds the order is let go.
CAP-1  What a limited location has taken on for a day is what orders claim of it, held and confirmed, in orders and in units.
CAP-2  An order claims of a limited location what it has allocated or picked there at most, and confirms what is released or picked.
EXC-1  A line with an open exception of what could not be sourced has failed somewhere.
EXC-3  An open exception of a parcel names one that comes back or that was lost.
NTE-1  What people write in words of their own is in no event, move or reaction: those carry codes.
CUS-1  Every customer has the seller's key, and every key its customer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.emails import Email
from ordino.network.postal import PostalText

Text = Annotated[str, Meta(min_length=1, max_length=200)]
MAX_MINOR = 10**12
MAX_QUANTITY = 10**9
MAX_LINES = 5000
Minor = Annotated[int, Meta(ge=0, le=MAX_MINOR, description="An amount in minor units of the order's currency.")]


class State(StrEnum):
    """Where a unit of demand is. ``ordered`` is where its first move comes from; nothing stays there."""

    ORDERED = "ordered"
    BACKORDERED = "backordered"
    ALLOCATED = "allocated"
    PICKED = "picked"
    PACKED = "packed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"
    CANCELLED = "cancelled"


EXITS: dict[State, frozenset[State]] = {
    State.ORDERED: frozenset({State.BACKORDERED, State.ALLOCATED, State.CANCELLED}),
    State.BACKORDERED: frozenset({State.ALLOCATED, State.CANCELLED}),
    State.ALLOCATED: frozenset({State.BACKORDERED, State.PICKED, State.CANCELLED}),
    State.PICKED: frozenset({State.PACKED, State.CANCELLED}),
    State.PACKED: frozenset({State.SHIPPED, State.CANCELLED}),
    # cancelled: lost on the way, or returned to the sender and refunded; backordered: returned to the sender, and sent again
    State.SHIPPED: frozenset({State.DELIVERED, State.CANCELLED, State.BACKORDERED}),
    State.DELIVERED: frozenset({State.RETURNED}),
    State.RETURNED: frozenset(),
    State.CANCELLED: frozenset(),
}


class Address(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the order goes. Personal data lives here and in customers only."""

    name: Text
    line1: Text
    line2: Annotated[str, Meta(max_length=200)] | None = None
    city: Text
    region: Annotated[str, Meta(max_length=100)] | None = None
    postal_code: PostalText
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    email: Email | None = None
    phone: Annotated[str, Meta(max_length=50)] | None = None


class NewCustomer(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who ordered, as the channel knows them."""

    external_id: Code
    name: Annotated[str, Meta(max_length=200)] | None = None
    email: Email | None = None
    phone: Annotated[str, Meta(max_length=50)] | None = None


class NewLine(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """So many units of one SKU. Goods by weight or length count in the SKU's scaled unit. Lines with the same ``group`` are to come
    from one location, where the routing profile keeps groups together.
    """

    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
    unit_price_minor: Minor
    group: Code | None = None


class Authorization(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Money that the provider holds already, because the shop's checkout has asked it to. It is taken over without another call.

    ``reference`` is the provider's, ``amount_minor`` what it holds.
    """

    reference: Text
    amount_minor: Annotated[int, Meta(ge=1, le=MAX_MINOR)]


class NewPayment(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an order is paid. ``provider`` is the channel's default if it is left out; ``method`` is the channel's word for the
    way of paying. ``token`` is what the checkout got from the provider: the money is authorized with it, and then it is
    forgotten. Or the money is authorized already (``authorization``).
    """

    amount_minor: Minor
    provider: Code | None = None
    method: Code | None = None
    token: Annotated[str, Meta(min_length=1, max_length=4000, description="A secret; it is shown nowhere.")] | None = (
        None
    )
    authorization: Authorization | None = None

    def __repr__(self) -> str:
        return f"NewPayment(amount_minor={self.amount_minor}, provider={self.provider!r}, method={self.method!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("amount_minor", self.amount_minor), ("provider", self.provider), ("method", self.method)]


class NewOrder(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An order as a channel sends it. ``(channel, external_id)`` names it: sent again, it is answered and not placed again.

    ``total_minor`` = sum of ``quantity`` x ``unit_price_minor`` + ``shipping_minor`` + ``tax_minor`` - ``discount_minor``.
    A discount may be as large as all the rest: it is taken off lines and tax first, and what exceeds them off the shipping.
    ``service_level`` and ``promised_at`` are what the buyer chose and was told (an option of POST /v1/promises): only services of
    that level are used, and a plan that arrives in time goes before any that does not. ``ship_by_at`` is by when the channel wants
    the order shipped, as marketplaces do: it is the deadline that on-time shipping is measured by, a plan that leaves by then goes
    before any that does not, and the work is queued before it. ``payments`` is one entry for the whole total; without it, the order
    is paid by its channel's ``payment_provider``.
    """

    channel: Code
    external_id: Code
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    lines: Annotated[list[NewLine], Meta(min_length=1, max_length=MAX_LINES)]
    shipping_minor: Minor = 0
    tax_minor: Minor = 0
    discount_minor: Minor = 0
    total_minor: Minor
    ship_to: Address
    customer: NewCustomer | None = None
    hold_id: UUID | None = None  # the cart's hold, which becomes this order's reservations
    type: Code = "home_delivery"  # routing profiles may tell types of order apart
    service_level: Code | None = None
    promised_at: Annotated[datetime, Meta(tz=True)] | None = None
    ship_by_at: Annotated[datetime, Meta(tz=True)] | None = None
    payments: Annotated[list[NewPayment], Meta(min_length=1, max_length=1)] | None = None


class Refusal(StrEnum):
    """Why an order was refused, in the order in which the reasons are tested."""

    INVALID = "invalid"  # A field breaks its type: too many, too few, too long.
    REPEATED_WITH_CHANGES = "repeated_with_changes"  # The channel has sent this order before, with another body.
    UNKNOWN_CHANNEL = "unknown_channel"  # No such channel, or no network serves it.
    WRONG_CURRENCY = "wrong_currency"  # The channel's seller sells in another currency.
    WRONG_TOTAL = "wrong_total"  # Lines + shipping + tax - discount is not the total.
    WRONG_PAYMENT = "wrong_payment"  # The payment, or its authorization, is of another amount than the order's total.
    UNKNOWN_PAYMENT_PROVIDER = "unknown_payment_provider"  # No provider of this name is installed.
    UNKNOWN_SKU = "unknown_sku"  # A line names a SKU that does not exist or is no longer sold.
    UNKNOWN_SERVICE_LEVEL = "unknown_service_level"  # No carrier service has this level.
    UNKNOWN_HOLD = "unknown_hold"  # The channel has no such hold. One that has ended or expired is no obstacle.
    OUT_OF_STOCK = (
        "out_of_stock"  # Too little is free, and the channel's policy is to refuse (or everything was dropped).
    )
    CANNOT_SHIP = (
        "cannot_ship"  # Nothing can ever serve a line at this address; or nothing that has it can ship there now.
    )


class DropReason(StrEnum):
    """Why a line was dropped; the words are those of the refusals."""

    OUT_OF_STOCK = "out_of_stock"  # Too little is free.
    CANNOT_SHIP = "cannot_ship"  # Nothing can ever serve it at this address.


class DroppedLine(Struct, frozen=True, gc=False):
    """A line that was not accepted, because the channel's policy is to do without what is short."""

    line_no: int
    sku: str
    quantity: int
    reason: DropReason


class Placed(Struct, frozen=True, gc=False, tag_field="outcome", tag="placed"):
    """The order is accepted and durable, but for its ``dropped`` lines. ``accepted_total_minor`` is the order's total without them:
    what the buyer owes, in minor units of the order's currency. ``repeated`` says that it was placed before.
    """

    order_id: UUID
    external_id: str
    status: str
    promised_at: datetime | None
    accepted_total_minor: int
    dropped: Sequence[DroppedLine] = ()
    repeated: bool = False


class OrderRefused(Struct, frozen=True, gc=False, tag_field="outcome", tag="refused"):
    """Nothing was written for this order. ``pointer`` names the field, ``detail`` says what to do."""

    external_id: str
    reason: Refusal
    detail: str
    pointer: str = ""


class UnitMove(Struct, frozen=True, gc=False):
    """One row of the demand ledger: units of a line leave a state for another. ``cause_id`` is the event behind it.

    Units that ship, are cancelled or come back say what that means in money, in minor units. ``paid_units`` of them were charged
    before: they ship for nothing, and are given back where the others are no longer owed. ``amount_minor`` is what the units are
    charged when they ship, or what is no longer owed when they are cancelled; ``refund_minor`` is what is given back.
    """

    order_id: UUID
    line_no: int
    from_state: State
    to_state: State
    quantity: int
    cause_id: UUID
    reason: str | None = None
    paid_units: int | None = None
    amount_minor: int | None = None
    refund_minor: int | None = None


class ShippingMove(Struct, frozen=True, gc=False):
    """The money of an order's shipping, in minor units: so much more of it is charged, no longer owed, or given back."""

    order_id: UUID
    charged_minor: int = 0
    void_minor: int = 0
    refund_minor: int = 0


class PaymentMoveKind(StrEnum):
    AUTHORIZED = "authorized"
    VOIDED = "voided"
    CAPTURED = "captured"
    REFUNDED = "refunded"


class PaymentMove(Struct, frozen=True, gc=False):
    """One row of the money ledger, in the order's currency."""

    order_id: UUID
    cause_id: UUID
    kind: PaymentMoveKind
    amount_minor: int
    reference: str | None = None


class OrderRow(Struct, frozen=True, gc=False):
    """An order as the verbs of every later stage need it, locked for the rest of the transaction.

    ``promised_at`` is what the buyer was told first, ``last_promised_at`` what he was told last, if anything after that.
    ``ship_by_at`` is by when the channel wants the order shipped, if it said so.
    """

    order_id: UUID
    channel_id: int
    external_id: str
    customer_id: UUID | None
    flow_version: int
    currency: str
    shipping_minor: int
    total_minor: int
    placed_at: datetime
    promised_at: datetime | None
    status: str
    type: str
    service_level: str | None
    shipping_charged_minor: int
    shipping_void_minor: int
    shipping_refunded_minor: int
    last_promised_at: datetime | None
    ship_by_at: datetime | None

    @property
    def net_shipping_minor(self) -> int:
        """What the shipping costs after a discount that exceeds lines and tax."""
        return min(self.shipping_minor, self.total_minor)

    @property
    def told_at(self) -> datetime | None:
        """By when the buyer expects the order: what he was told last."""
        return self.last_promised_at or self.promised_at


class LineRow(Struct, frozen=True, gc=False):
    """A line with its counts and its money. Units begin as owed; they are charged, or no longer owed (void); charged ones may be
    refunded. ``charged_units`` and ``charged_minor`` count the refunded ones, too.
    """

    order_id: UUID
    line_no: int
    sku_id: int
    ordered: int
    unit_price_minor: int
    amount_minor: int
    backordered: int
    allocated: int
    picked: int
    packed: int
    shipped: int
    delivered: int
    returned: int
    cancelled: int
    stop_wanted: int
    excluded_location_ids: list[int]
    group_code: str | None
    tries: int
    charged_units: int
    charged_minor: int
    void_units: int
    void_minor: int
    refunded_units: int
    refunded_minor: int
    parts_per_unit: int = 1  # equal parts that a unit comes back in, once a part of one came back by itself
    parts_back: int = 0  # of units that are not back whole


class AllocationRow(Struct, frozen=True, gc=False):
    """Units of a line that are to come from a location; ``released`` of them are in a fulfillment order."""

    order_id: UUID
    line_no: int
    location_id: int
    sku_id: int
    quantity: int
    released: int
    service_id: int
    ship_by_at: datetime
    promised_at: datetime  # when the plan arrives
