"""What says the same has the same digest, and what says something else has another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from msgspec import Struct, field

from ordino.core.digests import digest_of

AT = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)


class Part(Struct, kw_only=True):
    quantity: int
    group: str | None = None


class Sent(Struct, kw_only=True):
    code: str
    at: datetime | None = None
    kind: str = "plain"
    weight: float = 1.0
    parts: list[Part] = field(default_factory=list)


class SentLater(Sent, kw_only=True):
    """The same, a release later."""

    gift: bool = False
    labels: list[str] = field(default_factory=list)


def sent(body: str, type_: type[Any] = Sent) -> bytes:
    return digest_of("POST", msgspec.json.decode(body, type=type_))


@pytest.mark.parametrize(
    "again",
    [
        '{"code": "a", "at": "2026-11-27T18:00:00Z", "parts": [{"quantity": 2}]}',
        '{"at":"2026-11-27T19:00:00+01:00","code":"a","parts":[{"quantity":2}]}',
        '{"parts":[{"group":null,"quantity":2}],"weight":1,"code":"a","at":"2026-11-27T13:00:00.000-05:00"}',
        '{"code":"a","at":"2026-11-27T18:00:00Z","kind":"plain","weight":1,"parts":[{"quantity":2}]}',
    ],
    ids=["blanks", "offset and order", "nulls and numbers", "defaults"],
)
def test_the_same_said_otherwise_is_the_same(again: str) -> None:
    first = '{"code":"a","at":"2026-11-27T18:00:00Z","parts":[{"quantity":2}]}'
    assert sent(again) == sent(first)
    assert sent(again, SentLater) == sent(first)


@pytest.mark.parametrize(
    "other",
    [
        '{"code":"b"}',
        '{"code":"a","at":"2026-11-27T18:00:00Z"}',
        '{"code":"a","kind":"other"}',
        '{"code":"a","weight":1.5}',
        '{"code":"a","parts":[{"quantity":1},{"quantity":2}]}',
    ],
)
def test_something_else_is_something_else(other: str) -> None:
    assert sent(other) != sent('{"code":"a"}')


def test_the_order_of_a_list_and_the_edges_of_parts_count() -> None:
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of(b"ab") != digest_of("ab")


def test_what_json_decodes_to_counts_by_its_worth() -> None:
    assert digest_of({"b": 2.0, "a": [1]}) == digest_of({"a": [1.0], "b": 2})
    assert digest_of({"a": AT}) == digest_of({"a": AT.astimezone(timezone(timedelta(hours=9)))})
