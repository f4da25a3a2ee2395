"""What decoders complain of is told in plain words, with a pointer to the field."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta, Struct

from ordino.core.errors import Fault
from ordino.core.upserts import fault_of


class Color(StrEnum):
    RED = "red"


class Thing(Struct, forbid_unknown_fields=True):
    sku: str
    units: Annotated[int, Meta(ge=0)] | None = None
    share: Annotated[float, Meta(gt=0, lt=5)] = 1.0
    name: Annotated[str, Meta(min_length=1, max_length=3)] = "x"
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] = "DE"
    tags: Annotated[list[int], Meta(min_length=1)] | None = None
    active: bool = True
    color: Color = Color.RED
    at: Annotated[datetime, Meta(tz=True)] | None = None
    on: date | None = None
    id: UUID | None = None
    parts: list[Thing] = []


@pytest.mark.parametrize(
    ("sent", "pointer", "said"),
    [
        ({"units": -1}, "/units", "Expected a whole number that is at least 0."),
        ({"units": "many"}, "/units", "Expected a whole number or null, but got text."),
        ({"units": 1.5}, "/units", "Expected a whole number or null, but got a number with decimals."),
        ({"share": 7}, "/share", "Expected a number that is less than 5."),
        ({"name": ""}, "/name", "Expected at least 1 character."),
        ({"name": "long"}, "/name", "Expected at most 3 characters."),
        ({"country": "de"}, "/country", 'Expected two capital letters, such as "US".'),
        ({"tags": []}, "/tags", "Expected at least 1 item."),
        ({"tags": {}}, "/tags", "Expected a list or null, but got an object."),
        ({"active": "yes"}, "/active", "Expected true or false, but got text."),
        ({"color": "blue"}, "/color", "'blue' is not a value of this field; /schema lists its values."),
        ({"at": "2026-11-27T08:00:00"}, "/at", "A time needs its offset, such as the Z in 2026-11-27T08:00:00Z."),
        ({"at": "noon"}, "/at", "This is not a date with a time; write one such as 2026-11-27T08:00:00Z."),
        ({"on": "today"}, "/on", "This is not a date; write one such as 2026-11-27."),
        ({"id": "7"}, "/id", "This is not an id; ids look like 01a223bc-af50-7000-8000-0a7da0f31a6f."),
        ({"parts": [{"sku": "a"}, {}]}, "/parts/1/sku", "The field 'sku' is missing; it is required."),
        (
            {"parts": [{"sku": "a", "x": 1}]},
            "/parts/0/x",
            "There is no field 'x' here; correct its name, or leave it out.",
        ),
    ],
)
def test_a_fault_says_in_plain_words_what_is_wrong_and_where(sent: dict[str, Any], pointer: str, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"sku": "tea", **sent}, Thing)
    assert fault_of(caught.value) == Fault(pointer, said)


def test_a_required_field_that_is_missing_is_pointed_to() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({}, Thing)
    assert fault_of(caught.value) == Fault("/sku", "The field 'sku' is missing; it is required.")
