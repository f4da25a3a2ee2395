"""What the OpenAPI document says of the answers of every operation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ordino.api.server import load_stages
from ordino.core.errors import Forbidden, Invalid, OutcomeUnknown, TimedOut, Unavailable, UnsupportedMedia
from steps import application


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    load_stages()
    return application("postgresql://localhost/nothing_is_read").openapi_schema.to_schema()


def test_every_operation_names_what_may_be_answered_instead(document: dict[str, Any]) -> None:
    with_body = 0
    for path, operation in [(path, one) for path, item in document["paths"].items() for one in item.values()]:
        answers = set(operation["responses"])
        assert {"400", "500", "503", "default"} <= answers, path
        assert ({"401", "403"} <= answers) == (path not in ("/health", "/ready")), path
        assert ({"408", "413", "415"} <= answers) == ("requestBody" in operation), path
        with_body += "requestBody" in operation
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                assert answer["$ref"].removeprefix("#/components/responses/") in document["components"]["responses"]
            elif not status.startswith("2"):
                assert "application/problem+json" in answer["content"], (path, status)
    assert with_body > 40


def test_every_operation_says_its_name_its_permission_and_its_refusals_verb_by_verb(document: dict[str, Any]) -> None:
    place = document["paths"]["/v1/orders"]["post"]
    assert (place["operationId"], place["x-permission"], place["x-narrowed-by"]) == (
        "orders.place",
        "orders.write",
        "channel",
    )
    told = place["responses"]
    assert "`unknown_channel`" in told["422"]["description"]
    assert {"`repeated_with_changes`", "`key_reused`"} <= set(re.findall(r"`\w+`", told["409"]["description"]))
    look = document["paths"]["/v1/orders/{order_id}"]["get"]
    assert (look["operationId"], look["x-personal-data"]) == ("orders.get", True)
    assert "`not_found`" in look["responses"]["404"]["description"]
    assert "409" not in look["responses"]
    names = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(set(names)) == len(names)


def test_the_answers_name_the_types_of_their_problems_and_promise_only_what_holds(document: dict[str, Any]) -> None:
    told = document["components"]["responses"]
    for status, error in (
        (400, Invalid), (403, Forbidden), (408, TimedOut), (415, UnsupportedMedia), (503, Unavailable), (503, OutcomeUnknown),
    ):  # fmt: skip
        assert f"`{error.code}`" in told[f"Problem{status}"]["description"]
    assert all("application/problem+json" in answer["content"] for answer in told.values())
    promised = {name for name, answer in told.items() if "Nothing was changed." in answer["description"]}
    assert promised == {"Problem400", "Problem401", "Problem403", "Problem413", "Problem415", "ProblemDefault"}
