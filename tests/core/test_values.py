"""Money adds up, ids ascend, statements read what they are given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordino.core.ids import _Counter, new_id, new_ids
from ordino.core.money import Money, share_of_pool, split_minor
from ordino.core.statements import Statements

AT = datetime(2026, 3, 2, 17, 0, 0, 123000, tzinfo=UTC)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_the_parts_of_a_split_add_up(amount: int, weights: list[int]) -> None:
    parts = split_minor(amount, weights)
    assert sum(parts) == amount
    total = sum(weights)
    if total:
        assert all(abs(part - amount * weight / total) <= 1.0001 for part, weight in zip(parts, weights, strict=True))


@given(st.integers(0, 10**9), st.lists(st.integers(1, 100), min_size=1, max_size=20))
def test_shares_taken_one_after_the_other_empty_the_pool(amount: int, groups: list[int]) -> None:
    pool, left, quantity = amount, sum(groups), sum(groups)
    for count in groups:
        share = share_of_pool(pool, count, left)
        assert abs(share - amount * count / quantity) <= len(groups)
        pool, left = pool - share, left - count
    assert (pool, left) == (0, 0)


def test_currencies_do_not_mix() -> None:
    assert Money(100, "USD") + Money(50, "USD") == Money(150, "USD")
    assert [part.minor for part in Money(100, "USD").split([1, 1, 1])] == [33, 33, 34]
    with pytest.raises(ValueError, match="cannot mix"):
        Money(1, "USD") + Money(1, "EUR")
    with pytest.raises(ValueError, match="ISO 4217"):
        Money(1, "usd")


def test_ids_are_version_7_carry_their_instant_and_ascend() -> None:
    ids = new_ids(AT, 10_000)
    assert ids == sorted(set(ids))
    for some in (ids[0], ids[-1], new_id(AT)):
        assert (some.version, some.variant) == (7, "specified in RFC 4122")
        assert some.int >> 80 == int(AT.timestamp() * 1000)


def test_ids_of_an_instant_ascend_where_work_on_several_instants_alternates() -> None:
    instants = [AT, AT + timedelta(milliseconds=1), AT - timedelta(days=3000)]
    made: dict[datetime, list[UUID]] = {at: [] for at in instants}
    for n in range(300):
        at = instants[n % 3]
        made[at] += new_ids(at, 1 + n % 7)
    for ids in made.values():
        assert ids == sorted(set(ids))


def test_ids_ascend_where_the_counter_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Counter, "next", 2**32 - 2)
    ids = [*new_ids(AT, 3), new_id(AT)]
    assert ids == sorted(set(ids))
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert [one.int >> 80 for one in ids] == [int(AT.timestamp() * 1000) + carried for carried in (0, 0, 1, 1)]


async def test_arrays_arrive_as_they_left(database_url: str) -> None:
    sql = Statements(
        "-- name: back\n-- Returns what it was given.\n"
        "SELECT * FROM unnest(:ids::uuid[], :numbers::bigint[], :texts::text[], :ats::timestamptz[]);"
    )
    assert sql.back.parameters == ("ids", "numbers", "texts", "ats")
    texts = [
        "plain",
        'a "quote"',
        "back\\slash",
        "{braces, and commas}",
        "",
        "NULL",
        "smile 🙂",
        " spaced ",
        None,
        "line\nbreak",
    ]
    ids: list[UUID | None] = [uuid4() for _ in texts[:-1]] + [None]
    numbers = [0, -1, 2**62, *range(len(texts) - 4), None]
    ats = [AT] * (len(texts) - 1) + [None]
    connection = await asyncpg.connect(database_url)
    try:
        rows = await sql.back(connection, ids=ids, numbers=numbers, texts=texts, ats=ats)
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == list(zip(ids, numbers, texts, ats, strict=True))


def test_a_parameter_that_is_used_again_stays_an_array() -> None:
    sql = Statements(
        "-- name: s\n-- Both.\nSELECT 1 WHERE 1 = any(:a::int[]) AND 2 = any(:a::int[]) AND 3 = any(:b::int[])"
    )
    assert sql.s.text.count("::text::") == 1


async def test_a_wrong_parameter_is_a_bug() -> None:
    sql = Statements("-- name: s\n-- One.\nSELECT :a::int")
    with pytest.raises(TypeError, match="takes"):
        await sql.s(None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="no statement"):
        _ = sql.missing


async def test_an_instant_arrives_whatever_its_offset(database_url: str) -> None:
    """PostgreSQL itself refuses the text of an offset of 16 hours and more."""
    sql = Statements("-- name: back\n-- Returns what it was given.\nSELECT * FROM unnest(:ats::timestamptz[]) AS at;")
    offsets = [timezone(timedelta(hours=hours, minutes=59)) for hours in (-24, -17, 0, 14, 15, 16, 23)]
    ats = [
        datetime(year, month, 28, 23, 59, 59, tzinfo=one) for one in offsets for year, month in ((1990, 1), (2200, 12))
    ]
    connection = await asyncpg.connect(database_url)
    try:
        assert [row["at"] for row in await sql.back(connection, ats=ats)] == ats
    finally:
        await connection.close()
