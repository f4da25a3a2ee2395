"""One rule for all codes: no text of a request is a code without being marked as one."""

from __future__ import annotations

import gc
import pkgutil
import unicodedata
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ordino
from ordino.catalog.model import Sku
from ordino.cli import arguments
from ordino.core import codes
from ordino.inventory.feed import KINDS
from ordino.web.bodies import Body
from ordino.web.bulk import Kind

FREE = {
    "name", "line1", "line2", "city", "region", "phone", "email", "reason", "comment", "sentence", "worker", "place", "detail",
    "carrier", "note",
}  # fmt: skip
"""What people write for people: kept as it was written."""
FORMED = {
    "country", "currency", "locale", "timezone", "holidays", "gtin", "cut_off", "opens", "closes", "at", "postal_code",
    "origin_prefix", "destination_prefix", "serves_countries", "serves_prefixes", "ships_until", "from_currency", "to_currency",
    "cost_currency", "rate",
}  # fmt: skip
"""What has a form of its own, which its type or its stage checks."""
ALLOWED = {
    ("ReplayRequest", "document"),  # the whole text of a routing profile
    ("Authorization", "reference"), ("NewPayment", "token"),  # of a payment provider, who wants them back as they are
    ("Resumption", "account"),  # as the list of paused accounts writes it
    ("Acknowledgment", "cursor"), ("NewSubscription", "kinds"),  # checked against what there is
}  # fmt: skip


def requested() -> dict[str, Any]:
    """Every type that a request may bring: of bodies, of upserts, of feeds, and of the decoders of the stages' APIs."""
    for module in pkgutil.walk_packages(ordino.__path__, "ordino."):
        if ".api" in module.name or module.name.endswith("_api"):
            import_module(module.name)
    found: list[Any] = [kind.type for kind in KINDS.values()]
    gc.unfreeze()  # a server that ran in this process has frozen what it had loaded
    for one in gc.get_objects():
        if isinstance(one, Kind | Body):
            found.append(one.type)
        elif isinstance(one, msgspec.json.Decoder):
            found += [one.type] if isinstance(one.type, type) and issubclass(one.type, msgspec.Struct) else []
    return {f"{type_.__module__}.{type_.__name__}": type_ for type_ in found if type_.__module__.startswith("ordino.")}


def of_apis() -> dict[str, Any]:
    """Those of them that the API decodes; what is read back from the database is none of them."""
    inner = {"Explanation", "Outcome", "_Done"}
    return {
        name: type_ for name, type_ in requested().items() if type_.__name__ not in inner and not name.endswith("Batch")
    }


def test_no_code_of_a_request_escapes_the_rule() -> None:
    """A code that is not marked is neither trimmed nor normalized, and `tea ` becomes another SKU than `tea`."""
    types = of_apis()
    assert {"NewOrder", "Sku", "Location", "Count", "NewHold", "PickWork", "ReplayRequest", "NewSheet"} <= {
        type_.__name__ for type_ in types.values()
    }
    escaped = {
        (struct, field)
        for type_ in types.values()
        for struct, field, text in codes.texts_of(type_)
        if not codes.is_code(text) and field not in FREE | FORMED and (struct, field) not in ALLOWED
    }
    assert not escaped


def test_every_noun_has_a_code_that_is_marked() -> None:
    """The other way about: what the list of free texts names is not the only thing that the walk has seen."""
    marked = {field for type_ in of_apis().values() for _, field, text in codes.texts_of(type_) if codes.is_code(text)}
    assert marked >= {
        "code", "sku", "location", "channel", "seller", "network", "external_id", "document", "lot", "serials", "bin", "cart",
        "plan", "type", "service_level", "group", "zone", "tags", "handles", "handling_classes", "level", "tracking_number",
        "short_reason", "condition", "category", "from_bin", "to_bin", "carton", "customer", "carrier_service",
    }  # fmt: skip


ODD = st.sampled_from((".", "..")) | st.text(
    st.sampled_from('aZé\u0301/ \t\u00a0\u200b\u2060\ufeff\n"\\.,:-'), max_size=6
)


@given(ODD)
def test_a_normal_code_stays_as_it_is(text: str) -> None:
    code = codes.normal(text)
    assert codes.normal(code) == code
    assert code == unicodedata.normalize("NFC", code).strip()
    if codes.wrong_with(code) is None:
        assert code
        assert "  " not in code
        assert all(unicodedata.category(letter) not in {"Cc", "Cf"} for letter in code)


@given(st.lists(ODD, min_size=1, max_size=4), st.sampled_from([(",", ":"), (", ", ": ")]), st.sampled_from([None, 2]))
def test_what_the_quick_look_lets_through_needs_nothing(
    texts: list[str], separators: tuple[str, str], indent: int | None
) -> None:
    import json

    body = json.dumps({"codes": texts}, ensure_ascii=False, separators=separators, indent=indent).encode()
    if codes.is_plain(body):
        assert all(codes.normal(text) == text and (not text or codes.wrong_with(text) is None) for text in texts)


class Nested(msgspec.Struct):
    by: dict[str, list[codes.Code]] = {}
    one: codes.LongCode | None = None
    inner: list[Nested] = []
    free: str = ""


def test_codes_are_found_wherever_a_type_has_them() -> None:
    sent = {"by": {" k": [" a", "b"]}, "one": "c ", "inner": [{"one": "\td", "free": " x "}], "free": " y "}
    tidied, faults = codes.tidy(sent, Nested)
    assert tidied == {"by": {" k": ["a", "b"]}, "one": "c", "inner": [{"one": "d", "free": " x "}], "free": " y "}
    assert faults == []
    _, faults = codes.tidy({"inner": [{"inner": [{"by": {"k": ["a", " "]}}]}]}, Nested)
    assert [fault.pointer for fault in faults] == ["/inner/0/inner/0/by/k/1"]
    normal = {"one": "c"}
    assert codes.tidy(normal, Nested)[0] is normal


@pytest.mark.parametrize("code", [".", "..", "a\U0001d173b", "a\U0001bca0b", "a\U00013430b", "\U0001d159"])
def test_what_nobody_can_see_or_name_in_a_path_is_no_code(code: str) -> None:
    assert codes.wrong_with(code)


@pytest.mark.parametrize("code", ["a/b", "...", ". .", "a b", "A", "ä", "日本", "a.b-c_d", "(x)", "-"])
def test_what_people_call_things_is_allowed(code: str) -> None:
    assert codes.normal(code) == code
    assert codes.wrong_with(code) is None


def test_the_command_line_normalizes_codes_and_leaves_files_alone(tmp_path: Path) -> None:
    file = tmp_path / "counts .csv "
    file.write_text("")
    assert arguments(["stock", "available", " tea\u00a0", "te\u0301e", str(file)]) == [
        "stock", "available", "tea", "tée", str(file),
    ]  # fmt: skip


def test_a_label_is_folded_and_a_code_is_not() -> None:
    sent = {"code": "tea", "name": "Tea", "category": " Black  tea\u00a0bags "}
    tidied, faults = codes.tidy(sent, Sku)
    assert (tidied["category"], faults) == ("Black tea bags", [])
    assert codes.tidy(tidied, Sku)[0] is tidied
    [fault] = codes.tidy(sent | {"code": "black  tea"}, Sku)[1]
    assert fault.pointer == "/code"
