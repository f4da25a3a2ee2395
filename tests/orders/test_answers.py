"""What payment providers answer is judged before anything is written down."""

from __future__ import annotations

import time
from typing import Any

import pytest

from approving import ApprovingProvider
from ordino.core.errors import Refused
from ordino.orders.answers import SENTENCE_CHARACTERS, answer_of
from ordino.orders.providers import Approved, Declined
from ordino.testing.payments import Payments


async def answered(answer: Any) -> Approved | Declined:
    class Provider(ApprovingProvider):
        async def authorize(self, call: Any) -> Any:
            return answer

    return await answer_of(Provider(), "odd", "authorize", Payments().new_call(1000))


@pytest.mark.parametrize("amount", [10.5, 1000.0, True, "1000", 1001, 0, -1, float("nan")])
async def test_an_amount_that_cannot_be_written_down_waits_for_a_person(amount: Any) -> None:
    with pytest.raises(Refused, match=r"asked to authorize 1000 USD .* says that it did .* look there for the key"):
        await answered(Approved("ref-1", amount))


@pytest.mark.parametrize(("code", "sentence"), [(None, None), (402, b"no"), ("", "\x00"), ("a" * 51, "")])
async def test_a_no_is_a_no_however_it_is_said(code: Any, sentence: Any) -> None:
    assert await answered(Declined(code, sentence)) == Declined("declined", "")


async def test_a_sentence_of_50_megabytes_takes_no_time() -> None:
    began = time.monotonic()
    answer = await answered(Declined("card_expired", "no " * 17_000_000))
    assert time.monotonic() - began < 2
    assert isinstance(answer, Declined)
    assert (answer.code, len(answer.sentence)) == ("card_expired", SENTENCE_CHARACTERS)
