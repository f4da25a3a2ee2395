"""What the stock ledger tells: each kind of event that this stage writes, with its facts."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from ordino.core.payloads import Payload, Units, declare
from ordino.core.times import Instant

SkuId = Annotated[int, Meta(description="The SKU's id in this database.")]
SkuIds = Annotated[list[int], Meta(description="Ids of SKUs in this database, in ascending order.")]
LocationId = Annotated[int, Meta(description="The location's id in this database.")]


class StockReceived(Payload, kind="stock_received"):
    """Units arrived or were found."""

    sku_ids: Annotated[list[int], Meta(description="Ids of the SKUs of which there are more now, in ascending order.")]
    found: Annotated[
        list[tuple[int, int]] | UnsetType,
        Meta(
            description="Positions (SKU id, location id) where units were found that were thought lost. Absent if there are none."
        ),
    ] = UNSET


# -- shortfalls, counts and lots -------------------------------------------------------------------------------------------


class ShortfallFound(Payload, kind="shortfall_found"):
    """Fewer units are there than orders hold: promises are at risk."""

    sku_id: SkuId
    location_id: LocationId
    quantity: Annotated[int, Meta(description="How many units are missing, or how many more than before.")]
    document: Annotated[str | None, Meta(description="The count that found it; null if it has no document.")]


class ShortfallClosed(Payload, kind="shortfall_closed"):
    """A person has closed a shortfall."""

    reason: Annotated[str, Meta(description="Why, as a code.")]
    recovered: Annotated[int, Meta(description="So many units are there after all.")]
    actor: Annotated[str | None, Meta(description="The name of the key that was used; null without a key.")]


class Variance(Struct, frozen=True):
    """What a count found missing at one position."""

    sku_id: SkuId
    location_id: LocationId
    quantity: Annotated[int, Meta(description="How many units are missing.")]


class VarianceFound(Payload, kind="variance_found"):
    """A count found less than there should be."""

    positions: Annotated[int, Meta(description="At how many positions units are missing.")]
    quantity: Annotated[int, Meta(description="How many units are missing in all.")]
    largest: Annotated[list[Variance], Meta(description="Where most is missing, the most first; a few positions only.")]


class LotExpiredReserved(Payload, kind="lot_expired_reserved"):
    """A lot is past its date, and orders hold units of it that no good unit of the position covers."""

    sku_id: SkuId
    location_id: LocationId
    lot: Annotated[str, Meta(description="The lot's code.")]
    quantity: Annotated[int, Meta(description="How many of its units are held.")]


# -- carts -----------------------------------------------------------------------------------------------------------------


class UnitsHeld(Payload, kind="units_held"):
    """Units are held for a cart."""

    channel: Annotated[str, Meta(description="The channel's code.")]
    cart: Annotated[str | None, Meta(description="What the channel calls the cart; null if it gave no name.")]
    expires_at: Annotated[Instant, Meta(description="When the hold ends by itself.")]


class HoldReleased(Payload, kind="hold_released"):
    """Units that were held for a cart are free again."""

    sku_ids: SkuIds


class HoldExpired(Payload, kind="hold_expired"):
    """A cart's hold has expired, and its units are free again."""

    sku_ids: SkuIds


# -- what channels may sell ------------------------------------------------------------------------------------------------


class _Available(Payload):
    """What a network has of a SKU."""

    sku: Annotated[str, Meta(description="The SKU's code.")]
    sku_ids: Annotated[list[int], Meta(description="The SKU's id, as a list of one.")]
    network: Annotated[str, Meta(description="The network's code.")]
    available: Annotated[int, Meta(description="How many units may be promised now.")]


class StockLow(_Available, kind="stock_low"):
    """What is available of a SKU in a network has fallen to its low-stock level."""


class StockOut(_Available, kind="stock_out"):
    """Nothing of a SKU is available in a network any more."""


class StockBack(_Available, kind="stock_back"):
    """A SKU is available in a network again."""


# -- transfers -------------------------------------------------------------------------------------------------------------


class TransferUnits(Struct, frozen=True):
    """Units of one SKU that are to be moved."""

    sku: Annotated[str, Meta(description="The SKU's code.")]
    quantity: Annotated[int, Meta(description="How many units.")]


class TransferRequested(Payload, kind="transfer_requested"):
    """Units are to go to another location, and are reserved until they do."""

    origin: Annotated[str, Meta(description="The code of the location from which they go.")]
    destination: Annotated[str, Meta(description="The code of the location to which they go.")]
    lines: Annotated[list[TransferUnits], Meta(description="The lines, numbered from 1 in this order.")]


class _TransferLines(Payload):
    """Units of a transfer's lines."""

    lines: Annotated[list[Units], Meta(description="The units, by line of the transfer.")]


class TransferSent(_TransferLines, kind="transfer_sent"):
    """Units are in transit to another location."""


class TransferReceived(_TransferLines, kind="transfer_received"):
    """Units of a transfer have arrived; what differs from what was sent is listed."""


class TransferCancelled(_TransferLines, kind="transfer_cancelled"):
    """A transfer, or the rest of it, was cancelled: its units stay where they are."""


declare(__name__)
