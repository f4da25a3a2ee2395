"""Bulk upserts of the catalog: one outcome an item, and a bad one spoils nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ordino.catalog import read
from ordino.catalog.model import Channel, Component, Kit, Seller, Sku, gtin_fault
from ordino.catalog.upsert import sku_ids, upsert_channels, upsert_kits, upsert_sellers, upsert_skus
from ordino.core.database import Database, Tx
from ordino.core.upserts import Created, NotUpserted, Reason, Unchanged, Updated
from world import sure

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def _do(database: Database, verb: Any, *things: Any) -> list[Any]:
    outcomes: list[Any] = await database.transact(lambda tx: verb(tx, things, at=AT))
    return outcomes


async def _revision(database: Database) -> int:
    async def ask(tx: Tx) -> int:
        number: int = (await tx.fetch("SELECT number FROM core.revisions WHERE name = 'network'"))[0]["number"]
        return number

    return await database.read(ask)


def _sku(code: str, **more: Any) -> Sku:
    return Sku(code=code, name=code.title(), **more)


@pytest.mark.parametrize("gtin", ["96385074", "036000291452", "4006381333931", "10614141000415", None])
def test_a_right_check_digit_passes(gtin: str | None) -> None:
    assert gtin_fault(gtin) is None


@pytest.mark.parametrize(
    ("gtin", "said"),
    [
        ("4006381333932", "should be 1"),
        ("4006381333913", "should be"),  # two neighbours swapped
        ("400638133393", "should be"),
        ("40063813339", "8, 12, 13 or 14 digits"),
        ("400638133393a", "8, 12, 13 or 14 digits"),
        ("٤٠٠٦٣٨١٣٣٣٩٣١", "8, 12, 13 or 14 digits"),
    ],
)
def test_a_mistyped_gtin_is_found(gtin: str, said: str) -> None:
    fault = gtin_fault(gtin)
    assert fault is not None
    assert fault.pointer == "/gtin"
    assert said in fault.detail


@given(st.text("0123456789", min_size=13, max_size=13), st.integers(0, 12), st.integers(1, 9))
def test_any_one_wrong_digit_is_found(digits: str, place: int, change: int) -> None:
    right = next(digits[:-1] + last for last in "0123456789" if gtin_fault(digits[:-1] + last) is None)
    wrong = right[:place] + str((int(right[place]) + change) % 10) + right[place + 1 :]
    assert gtin_fault(wrong) is not None


async def test_what_is_new_differs_or_stays_is_told_apart(database: Database) -> None:
    assert await _do(database, upsert_skus, _sku("a"), _sku("b")) == [Created("a"), Created("b")]
    assert await _do(database, upsert_skus, _sku("b", weight_grams=5), _sku("a"), _sku("c")) == [
        Updated("b"),
        Unchanged("a"),
        Created("c"),
    ]
    found = await database.read(lambda tx: read.skus(tx, ["b", "c", "nothing"]))
    assert found == [_sku("b", weight_grams=5), _sku("c")]


async def test_every_field_of_a_sku_comes_back_as_sent(database: Database) -> None:
    whole = Sku(
        code="whole/ü 1",
        name="Whole",
        gtin="4006381333931",
        category="pens",
        weight_grams=12,
        length_mm=140,
        width_mm=9,
        height_mm=8,
        unit_scale=3,
        backorderable=True,
        active=False,
    )
    assert await _do(database, upsert_skus, whole) == [Created("whole/ü 1")]
    assert await database.read(lambda tx: read.skus(tx, [whole.code])) == [whole]
    for field, other in {
        "gtin": None,
        "category": "ink",
        "height_mm": 9,
        "backorderable": False,
        "active": True,
    }.items():
        changed = replace(whole, **{field: other})
        assert await _do(database, upsert_skus, changed) == [Updated(whole.code)]
        assert await _do(database, upsert_skus, changed, whole) == [Unchanged(whole.code), Updated(whole.code)]


async def test_a_bad_sku_spoils_none_of_its_neighbours(database: Database) -> None:
    outcomes = await _do(
        database,
        upsert_skus,
        _sku("good-1"),
        _sku("bad-gtin", gtin="4006381333932"),
        _sku("bad-weight", weight_grams=-1),
        _sku("bad-size", length_mm=10**9),
        _sku("bad-\x00"),
        _sku(""),
        _sku("bad-scale", unit_scale=7),
        _sku("bad-type", weight_grams="much"),
        _sku("good-2"),
    )
    assert [type(outcome) for outcome in outcomes] == [Created, *[NotUpserted] * 7, Created]
    assert [outcome.pointer for outcome in outcomes[1:-1]] == [
        "/gtin",
        "/weight_grams",
        "/length_mm",
        "/code",
        "/code",
        "/unit_scale",
        "/weight_grams",
    ]
    assert {outcome.reason for outcome in outcomes[1:-1]} == {Reason.INVALID}
    codes = [outcome.code for outcome in outcomes if "\x00" not in outcome.code]
    assert [sku.code for sku in await database.read(lambda tx: read.skus(tx, codes))] == ["good-1", "good-2"]


async def test_a_code_that_repeats_is_applied_in_order(database: Database) -> None:
    outcomes = await _do(
        database,
        upsert_skus,
        _sku("twice"),
        _sku("twice", weight_grams=1),
        _sku("twice", weight_grams=1),
        _sku("twice"),
    )
    assert outcomes == [Created("twice"), Updated("twice"), Unchanged("twice"), Updated("twice")]


async def test_cat_1_a_code_keeps_its_key_when_many_create_at_once(database: Database) -> None:
    codes = [f"raced-{n}" for n in range(40)]
    batches = [codes[n:] + codes[:n] for n in range(0, 40, 8)]
    results = await asyncio.gather(*(_do(database, upsert_skus, *map(_sku, batch)) for batch in batches))
    created = [outcome.code for outcomes in results for outcome in outcomes if isinstance(outcome, Created)]
    assert sorted(created) == sorted(codes)
    keys = await database.read(lambda tx: sku_ids(tx, codes))
    assert len(set(keys.values())) == len(codes)
    await _do(database, upsert_skus, *(_sku(code, weight_grams=9) for code in codes))
    assert await database.read(lambda tx: sku_ids(tx, codes)) == keys


async def test_cat_3_a_unit_scale_never_changes(database: Database) -> None:
    await _do(database, upsert_skus, _sku("cloth", unit_scale=2))
    refused, fine = await _do(database, upsert_skus, _sku("cloth", unit_scale=3), _sku("other"))
    assert (refused.reason, refused.pointer) == (Reason.CONFLICT, "/unit_scale")
    assert isinstance(fine, Created)
    assert await database.read(lambda tx: read.skus(tx, ["cloth"])) == [_sku("cloth", unit_scale=2)]


async def test_cat_4_a_channel_keeps_its_seller(database: Database) -> None:
    sellers = [
        Seller(code=code, name=code, currency="EUR", locale="de-DE", return_window_days=14) for code in ("s1", "s2")
    ]
    sure(await _do(database, upsert_sellers, *sellers))
    assert await database.read(lambda tx: read.sellers(tx, ["s2", "s1"])) == sellers
    shop = Channel(code="shop", name="Shop", seller="s1")
    unknown, created = await _do(database, upsert_channels, Channel(code="x", name="X", seller="nobody"), shop)
    assert (unknown.reason, unknown.pointer) == (Reason.UNKNOWN, "/seller")
    assert created == Created("shop")
    moved, renamed = await _do(
        database, upsert_channels, replace(shop, seller="s2"), replace(shop, short_policy="drop")
    )
    assert (moved.reason, moved.pointer) == (Reason.CONFLICT, "/seller")
    assert renamed == Updated("shop")
    assert await database.read(lambda tx: read.channels(tx, ["shop"])) == [replace(shop, short_policy="drop")]


async def test_a_channel_or_seller_that_changes_is_a_change_of_the_network(database: Database) -> None:
    seller = Seller(code="revised", name="Revised", currency="USD")
    before = await _revision(database)
    sure(await _do(database, upsert_sellers, seller))
    sure(await _do(database, upsert_channels, Channel(code="revised", name="Web", seller="revised")))
    assert await _revision(database) == before + 2
    assert await _do(database, upsert_sellers, seller) == [Unchanged("revised")]
    assert await _revision(database) == before + 2


async def test_a_kit_is_written_whole(database: Database) -> None:
    sure(await _do(database, upsert_skus, *map(_sku, ("set", "cup", "plate", "bowl"))))
    one = Kit(sku="set", components=[Component(sku="cup", quantity=2), Component(sku="plate")])
    other = Kit(sku="set", components=[Component(sku="bowl")])
    assert await _do(database, upsert_kits, one) == [Created("set")]
    assert await _do(database, upsert_kits, one, other, other) == [Unchanged("set"), Updated("set"), Unchanged("set")]
    assert await database.read(lambda tx: read.kits(tx, ["set", "cup"])) == [other]
    assert await _do(database, upsert_kits, Kit(sku="set", components=[])) == [Updated("set")]
    assert await database.read(lambda tx: read.kits(tx, ["set"])) == []


async def test_cat_2_a_kit_holds_no_kits(database: Database) -> None:
    sure(await _do(database, upsert_skus, *map(_sku, ("k1", "k2", "k3", "p1", "p2"))))

    def kit(sku: str, *parts: str) -> Kit:
        return Kit(sku=sku, components=[Component(sku=part) for part in parts])

    outcomes = await _do(
        database,
        upsert_kits,
        kit("k1", "p1"),
        kit("k2", "p1", "k1"),  # holds a kit made a moment ago
        kit("p1", "p2"),  # is in a kit
        kit("k2", "p1", "missing"),
        kit("missing", "p1"),
        kit("k3", "p1", "k3"),
        kit("k3", "p1", "p1"),
        kit("k3", "p2"),
    )
    assert [(getattr(o, "reason", "done"), getattr(o, "pointer", "")) for o in outcomes] == [
        ("done", ""),
        (Reason.CONFLICT, "/components/1/sku"),
        (Reason.CONFLICT, "/sku"),
        (Reason.UNKNOWN, "/components/1/sku"),
        (Reason.UNKNOWN, "/sku"),
        (Reason.INVALID, "/components/1/sku"),
        (Reason.INVALID, "/components/1/sku"),
        ("done", ""),
    ]
    assert await _do(database, upsert_kits, kit("k1", "p2"), kit("p1")) == [Updated("k1"), Unchanged("p1")]
    assert await _do(database, upsert_kits, kit("p1", "p2")) == [Created("p1")]  # no kit holds it any more


async def test_cat_2_holds_when_two_kits_are_made_at_once(database: Database) -> None:
    for turn in range(10):
        outer, inner, part = (f"{name}-{turn}" for name in ("outer", "inner", "part"))
        sure(await _do(database, upsert_skus, *map(_sku, (outer, inner, part))))
        results = await asyncio.gather(
            _do(database, upsert_kits, Kit(sku=outer, components=[Component(sku=inner)])),
            _do(database, upsert_kits, Kit(sku=inner, components=[Component(sku=part)])),
        )
        assert sorted(type(outcomes[0]).__name__ for outcomes in results) == ["Created", "NotUpserted"]


async def test_pages_follow_each_other_to_the_end(database: Database) -> None:
    codes = [f"page-{n:03}" for n in range(25)]
    sure(await _do(database, upsert_skus, *map(_sku, codes)))
    found: list[str] = []
    after = "page-"
    while page := await database.read(partial(read.skus_after, after=after, limit=7)):
        found += [sku.code for sku in page]
        after = found[-1]
    assert [code for code in found if code.startswith("page-")] == codes


async def test_nothing_is_asked_for_nothing(database: Database) -> None:
    for verb in (upsert_sellers, upsert_channels, upsert_skus, upsert_kits):
        assert await _do(database, verb) == []


async def test_a_currency_that_nobody_knows_is_refused(database: Database) -> None:
    wrong = Seller(code="moon", name="Moon", currency="XYZ", locale="en", return_window_days=14)
    [outcome] = await _do(database, upsert_sellers, wrong)
    assert isinstance(outcome, NotUpserted)
    assert (outcome.reason, outcome.pointer) == (Reason.INVALID, "/currency")
    assert "'XYZ'" in outcome.detail
