"""Sellers, channels, SKUs and kits are created and changed in sets, each thing by its code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import to_builtins

from ordino.catalog.codes import CREATED
from ordino.catalog.model import Channel, Kit, Seller, Sku, sku_fault
from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import Fault
from ordino.core.money import currency_fault
from ordino.core.statements import statements, text_array
from ordino.core.upserts import (
    NotUpserted,
    Outcome,
    Reason,
    hold_network,
    in_rounds,
    network_changed,
    outcome,
    take_ids,
)

sql = statements("ordino.catalog")

SellerCheck = Callable[[Tx, Mapping[str, str], datetime], Awaitable[Mapping[str, NotUpserted]]]
SELLER_CHECKS: list[SellerCheck] = []
"""Later stages that may refuse another currency of a seller: given seller -> new currency, they say what stands against it."""
PROVIDER_CHECKS: list[Callable[[str], str | None]] = []
"""Later stages that know payment providers: given a name, they say what stands against it, or None."""


def _seller_fault(seller: Seller) -> Fault | None:
    wrong = currency_fault(seller.currency)
    return None if wrong is None else Fault("/currency", wrong)


async def upsert_sellers(tx: Tx, sellers: Sequence[Seller], *, at: datetime) -> list[Outcome]:
    """A changed currency holds for orders to come; orders keep theirs. It is refused while costs cannot be converted into it."""
    if not sellers:
        return []
    await hold_network(tx)

    async def apply(batch: Sequence[Seller]) -> list[Outcome]:
        found = {row["code"]: row for row in await sql.seller_ids(tx, codes=[seller.code for seller in batch])}
        changed = {
            seller.code: seller.currency
            for seller in batch
            if seller.code in found and found[seller.code]["currency"] != seller.currency
        }
        refused: dict[str, NotUpserted] = {}
        if changed:
            for check in SELLER_CHECKS:
                refused |= await check(tx, changed, at)
        everything, batch = batch, [seller for seller in batch if seller.code not in refused]
        codes = [seller.code for seller in batch]
        known = {code: row["seller_id"] for code, row in found.items()}
        ids = known | await take_ids(tx, "seller", [code for code in codes if code not in known])
        rows = await sql.write_sellers(
            tx,
            seller_ids=[ids[code] for code in codes],
            codes=codes,
            names=[seller.name for seller in batch],
            currencies=[seller.currency for seller in batch],
            locales=[seller.locale for seller in batch],
            return_windows=[seller.return_window_days for seller in batch],
        )
        written = {row["code"] for row in rows}
        return [
            refused.get(seller.code)
            or outcome(seller.code, new=seller.code not in known, written=seller.code in written)
            for seller in everything
        ]

    outcomes = await in_rounds(sellers, code=lambda seller: seller.code, fault=_seller_fault, apply=apply)
    await network_changed(tx, outcomes, "channels")
    return outcomes


async def upsert_channels(tx: Tx, channels: Sequence[Channel], *, at: datetime) -> list[Outcome]:
    """A channel keeps its seller (CAT-4). Orders come in once a network serves it, too."""
    if not channels:
        return []
    await hold_network(tx)

    async def apply(batch: Sequence[Channel]) -> list[Outcome]:
        codes = [channel.code for channel in batch]
        rows = await sql.seller_ids(tx, codes=list({channel.seller for channel in batch}))
        sellers = {row["code"]: row["seller_id"] for row in rows}
        known = {row["code"]: row for row in await sql.channel_ids(tx, codes=codes)}
        outcomes: dict[str, Outcome] = {}
        for channel in batch:
            if channel.seller not in sellers:
                detail = f"There is no seller {channel.seller!r}; create it with PUT /v1/sellers."
                outcomes[channel.code] = NotUpserted(channel.code, Reason.UNKNOWN, detail, "/seller")
            elif channel.code in known and known[channel.code]["seller_id"] != sellers[channel.seller]:
                detail = f"The channel {channel.code!r} belongs to another seller and stays there; make a new channel."
                outcomes[channel.code] = NotUpserted(channel.code, Reason.CONFLICT, detail, "/seller")
            elif wrong := _provider_fault(channel, known):
                outcomes[channel.code] = NotUpserted(channel.code, Reason.UNKNOWN, wrong, "/payment_provider")
        sound = [channel for channel in batch if channel.code not in outcomes]
        ids = {code: row["channel_id"] for code, row in known.items()}
        ids |= await take_ids(tx, "channel", [channel.code for channel in sound if channel.code not in known])
        rows = await sql.write_channels(
            tx,
            channel_ids=[ids[channel.code] for channel in sound],
            codes=[channel.code for channel in sound],
            names=[channel.name for channel in sound],
            seller_ids=[sellers[channel.seller] for channel in sound],
            short_policies=[channel.short_policy for channel in sound],
            payment_providers=[channel.payment_provider for channel in sound],
        )
        written = {row["code"] for row in rows}
        for channel in sound:
            new = channel.code not in known
            outcomes[channel.code] = outcome(channel.code, new=new, written=channel.code in written)
        return [outcomes[code] for code in codes]

    outcomes = await in_rounds(channels, code=lambda channel: channel.code, fault=lambda channel: None, apply=apply)
    await network_changed(tx, outcomes, "channels")
    return outcomes


def _provider_fault(channel: Channel, known: Mapping[str, Any]) -> str | None:
    """What speaks against the channel's payment provider. One that it has already stays, though this process may not know it."""
    if channel.code in known and known[channel.code]["payment_provider"] == channel.payment_provider:
        return None
    return next((wrong for check in PROVIDER_CHECKS if (wrong := check(channel.payment_provider))), None)


async def upsert_skus(tx: Tx, skus: Sequence[Sku], *, at: datetime) -> list[Outcome]:
    """A code is claimed in the look-up table first, then its SKU is written. A SKU keeps its unit scale (CAT-3)."""

    async def apply(batch: Sequence[Sku]) -> list[Outcome]:
        ids, claimed = await _claim(tx, [sku.code for sku in batch])
        before = {
            row["sku_id"]: row
            for row in await sql.hold_written(tx, sku_ids=[ids[sku.code] for sku in batch if sku.code not in claimed])
        }
        scales = {sku_id: row["unit_scale"] for sku_id, row in before.items()}
        trackings = {sku_id: row["tracking"] for sku_id, row in before.items()}
        outcomes: dict[str, Outcome] = {}
        for sku in batch:
            scale = scales.get(ids[sku.code], sku.unit_scale)
            if scale != sku.unit_scale:
                detail = (
                    f"The SKU {sku.code!r} counts with unit_scale {scale}, and its stock and orders do; "
                    "sell the goods under a new SKU to count them in another way."
                )
                outcomes[sku.code] = NotUpserted(sku.code, Reason.CONFLICT, detail, "/unit_scale")
            elif (was := trackings.get(ids[sku.code], sku.tracking)) != sku.tracking:
                detail = f"The SKU {sku.code!r} is tracked by {was}, and its units are; sell them under a new SKU to change that."
                outcomes[sku.code] = NotUpserted(sku.code, Reason.CONFLICT, detail, "/tracking")
        sound = [sku for sku in batch if sku.code not in outcomes]
        rows = await sql.write_skus(
            tx,
            sku_ids=[ids[sku.code] for sku in sound],
            codes=[sku.code for sku in sound],
            names=[sku.name for sku in sound],
            gtins=[sku.gtin for sku in sound],
            categories=[sku.category for sku in sound],
            weights=[sku.weight_grams for sku in sound],
            lengths=[sku.length_mm for sku in sound],
            widths=[sku.width_mm for sku in sound],
            heights=[sku.height_mm for sku in sound],
            unit_scales=[sku.unit_scale for sku in sound],
            backorderable=[sku.backorderable for sku in sound],
            active=[sku.active for sku in sound],
            tracking=[sku.tracking for sku in sound],
            expiry_required=[sku.expiry_required for sku in sound],
            handling_classes=[text_array(sorted(set(sku.handling_classes))) for sku in sound],
            stop_selling_days=[sku.stop_selling_days for sku in sound],
        )
        written = {row["code"] for row in rows}
        if any(sku.tracking != "none" and sku.code in written for sku in sound):
            await kept.changed(tx, "tracking")
        was = [(sku, before[ids[sku.code]]) for sku in sound if ids[sku.code] in before]
        if any(sku.active != row["active"] for sku, row in was) or any(
            not sku.active and sku.code in claimed for sku in sound
        ):
            await kept.changed(tx, "retired")
        if dated := any(sku.stop_selling_days != row["stop_selling_days"] for sku, row in was):
            await kept.changed(tx, "promises")  # what may be sold of their lots is published anew
        if dated or any(_shape(to_builtins(sku)) != _shape(dict(row)) for sku, row in was):
            await kept.changed(tx, "goods")  # who waits for them is looked at again: what can serve it now?
        for sku in sound:
            outcomes[sku.code] = outcome(sku.code, new=sku.code in claimed, written=sku.code in written)
        return [outcomes[sku.code] for sku in batch]

    return await in_rounds(skus, code=lambda sku: sku.code, fault=sku_fault, apply=apply)


def _shape(sku: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides who can send a SKU."""
    sizes = (sku["weight_grams"], sku["length_mm"], sku["width_mm"], sku["height_mm"])
    return *sizes, tuple(sorted(set(sku["handling_classes"])))


async def _claim(tx: Tx, codes: Sequence[str]) -> tuple[dict[str, int], set[str]]:
    """The key of every code, and which codes are new."""
    known = await sku_ids(tx, codes)
    fresh = await take_ids(tx, "sku", sorted(code for code in codes if code not in known))
    if not fresh:
        return known, set()
    tx.changed.add(CREATED)
    rows = await sql.claim_sku_codes(tx, codes=list(fresh), sku_ids=list(fresh.values()))
    claimed = {row["code"] for row in rows}
    taken = [code for code in fresh if code not in claimed]
    return known | fresh | await sku_ids(tx, taken), claimed


async def sku_ids(tx: Tx, codes: Sequence[str]) -> dict[str, int]:
    """Code -> key of the SKUs that exist."""
    return {row["code"]: row["sku_id"] for row in await sql.sku_ids(tx, codes=list(codes))} if codes else {}


async def upsert_kits(tx: Tx, kits: Sequence[Kit], *, at: datetime) -> list[Outcome]:
    """Each kit is written whole. Its SKU and its components exist before it, and no component is a kit (CAT-2).

    What there is of a SKU in stock and orders is not known here: ``orders.kits`` looks at that first.
    """

    async def apply(batch: Sequence[Kit]) -> list[Outcome]:
        named = {kit.sku for kit in batch} | {part.sku for kit in batch for part in kit.components}
        ids = await sku_ids(tx, sorted(named))
        await sql.hold_skus(tx, sku_ids=list(ids.values()))
        numbered = {row["sku_id"] for row in await sql.serial_skus(tx, sku_ids=list(ids.values()))}
        kit_ids = {row["sku_id"] for row in await sql.kits_among(tx, sku_ids=list(ids.values()))}
        rows = await sql.components_among(tx, sku_ids=list(ids.values()))
        within = {row["sku_id"]: set(row["kits"]) for row in rows}
        before: dict[int, dict[int, int]] = {}
        for row in await sql.components_of(tx, sku_ids=[ids[kit.sku] for kit in batch if kit.sku in ids]):
            before.setdefault(row["sku_id"], {})[row["component_sku_id"]] = row["quantity"]
        outcomes: list[Outcome] = []
        changed: dict[int, dict[int, int]] = {}
        for kit in batch:
            wrong = _kit_refusal(kit, ids, kit_ids, within) or _numbered(kit, ids, numbered)
            if wrong is not None:
                outcomes.append(wrong)
                continue
            key = ids[kit.sku]
            parts = {ids[part.sku]: part.quantity for part in kit.components}
            was = before.get(key, {})
            if parts != was:
                changed[key] = parts
            outcomes.append(outcome(kit.sku, new=bool(parts) and not was, written=parts != was))
            (kit_ids.add if parts else kit_ids.discard)(key)
            for part in was.keys() - parts.keys():
                within.get(part, set()).discard(kit.sku)
            for part in parts.keys() - was.keys():
                within.setdefault(part, set()).add(kit.sku)
        if changed:
            await _write_kits(tx, changed)
        return outcomes

    return await in_rounds(kits, code=lambda kit: kit.sku, fault=_kit_fault, apply=apply)


def _kit_fault(kit: Kit) -> Fault | None:
    seen: set[str] = {kit.sku}
    for index, part in enumerate(kit.components):
        if part.sku == kit.sku:
            return Fault(f"/components/{index}/sku", "A kit cannot be part of itself; name another SKU.")
        if part.sku in seen:
            return Fault(
                f"/components/{index}/sku", f"{part.sku!r} stands twice; add up its quantities in one component."
            )
        seen.add(part.sku)
    return None


def _kit_refusal(
    kit: Kit, ids: Mapping[str, int], kit_ids: set[int], within: Mapping[int, set[str]]
) -> NotUpserted | None:
    if kit.sku not in ids:
        detail = f"The SKU {kit.sku!r} does not exist; create it with PUT /v1/skus."
        return NotUpserted(kit.sku, Reason.UNKNOWN, detail, "/sku")
    for index, part in enumerate(kit.components):
        pointer = f"/components/{index}/sku"
        if part.sku not in ids:
            detail = f"The SKU {part.sku!r} does not exist; create it with PUT /v1/skus."
            return NotUpserted(kit.sku, Reason.UNKNOWN, detail, pointer)
        if ids[part.sku] in kit_ids:
            detail = f"{part.sku!r} is a kit, and a kit holds no kits; name its components instead."
            return NotUpserted(kit.sku, Reason.CONFLICT, detail, pointer)
    if kit.components and (holders := within.get(ids[kit.sku])):
        detail = f"{kit.sku!r} is part of the kit {min(holders)!r}, and a kit holds no kits; take it out first."
        return NotUpserted(kit.sku, Reason.CONFLICT, detail, "/sku")
    return None


def _numbered(kit: Kit, ids: Mapping[str, int], numbered: set[int]) -> NotUpserted | None:
    for index, part in enumerate(kit.components):
        if ids[part.sku] in numbered:
            detail = f"{part.sku!r} has serial numbers, and a pick of kits does not name those of components; sell it by itself."
            return NotUpserted(kit.sku, Reason.CONFLICT, detail, f"/components/{index}/sku")
    return None


async def _write_kits(tx: Tx, parts_by_kit: Mapping[int, Mapping[int, int]]) -> None:
    rows = [(kit, part, quantity) for kit, parts in parts_by_kit.items() for part, quantity in parts.items()]
    await sql.clear_kits(tx, sku_ids=list(parts_by_kit))
    await sql.know_kits(tx, sku_ids=list(parts_by_kit))
    await sql.write_components(
        tx,
        sku_ids=[kit for kit, _, _ in rows],
        component_sku_ids=[part for _, part, _ in rows],
        quantities=[quantity for _, _, quantity in rows],
    )
    await kept.changed(tx, "kits")
    await kept.changed(tx, "promises")
