"""What a payment provider has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordino.core.errors import NotYet, Unavailable
from ordino.core.secret import Secret
from ordino.orders.providers import Approved, Capture, Declined, PaymentCall, PaymentProvider

REFERENCE_CHARACTERS = 200
Verb = Callable[[PaymentCall], Awaitable[Any]]


class Payments:
    """Calls for the suites. Set ``currency``, ``method`` and ``token`` to what your test account takes."""

    seconds = 28.0  # Ordino gives a call up after 30.
    currency = "USD"
    method: str | None = None
    token: str | None = None

    def new_call(self, amount_minor: int = 1000, **changes: Any) -> PaymentCall:
        """An authorization of a new order."""
        order_id = uuid4()
        call = PaymentCall(
            key=str(uuid4()),
            order_id=order_id,
            external_id=f"test-{order_id.hex[:12]}",
            channel="test-channel",
            seller="test-seller",
            payment_id=order_id,
            amount_minor=amount_minor,
            currency=self.currency,
            method=self.method,
            token=None if self.token is None else Secret(self.token),
        )
        return replace(call, **changes)

    def later(self, call: PaymentCall, approved: Approved, amount_minor: int, **changes: Any) -> PaymentCall:
        """A later call of the same payment: without the token, with the authorization's reference, under a key of its own."""
        key, reference = str(uuid4()), approved.reference
        later = replace(call, key=key, token=None, authorization=reference, amount_minor=amount_minor)
        return replace(later, **changes)

    async def asked(self, verb: Verb, call: PaymentCall) -> Any:
        """The answer to a call, which has to come in time."""
        try:
            async with asyncio.timeout(self.seconds) as limit:
                return await verb(call)
        except TimeoutError:
            if not limit.expired():
                raise
            pytest.fail(f"it took more than {self.seconds:g} seconds")

    async def authorized(self, provider: PaymentProvider, amount_minor: int = 1000) -> tuple[PaymentCall, Approved]:
        call = self.new_call(amount_minor)
        return call, sure(await self.asked(provider.authorize, call), call)


def sure(answer: Any, call: PaymentCall) -> Approved:
    """The answer, if it approves all of what was asked, under a reference that can be kept."""
    assert isinstance(answer, Approved), f"it answered {type(answer).__name__}, and should have approved"
    reference = answer.reference
    assert isinstance(reference, str), "the reference is a text"
    assert 1 <= len(reference) <= REFERENCE_CHARACTERS, f"the reference has 1 to {REFERENCE_CHARACTERS} characters"
    assert reference.isprintable(), "the reference holds visible characters only"
    assert answer.amount_minor in (None, call.amount_minor), "the amount is what was asked for"
    assert answer.amount_minor is None or type(answer.amount_minor) is int, (
        "the amount is a whole number of minor units"
    )
    return answer


@pytest.mark.asyncio
class PaymentProviderSuite(Payments):
    """Subclass it and give it the fixture ``provider``: one that is ready to be called, at your test account."""

    async def test_it_lacks_nothing(self, provider: PaymentProvider) -> None:
        assert provider.lacking() is None

    async def test_it_authorizes_under_a_reference(self, provider: PaymentProvider) -> None:
        await self.authorized(provider)

    async def test_it_captures_in_parts(self, provider: PaymentProvider) -> None:
        call, approved = await self.authorized(provider)
        for part in (600, 400):
            capture = self.later(call, approved, part)
            sure(await self.asked(provider.capture, capture), capture)

    async def test_it_lets_go_of_what_is_not_captured(self, provider: PaymentProvider) -> None:
        call, approved = await self.authorized(provider)
        void = self.later(call, approved, 1000)
        sure(await self.asked(provider.void, void), void)

    async def test_what_is_not_let_go_can_be_captured(self, provider: PaymentProvider) -> None:
        call, approved = await self.authorized(provider)
        void = self.later(call, approved, 400)
        sure(await self.asked(provider.void, void), void)
        rest = self.later(call, approved, 600)
        sure(await self.asked(provider.capture, rest), rest)

    async def test_a_refund_may_be_of_several_captures(self, provider: PaymentProvider) -> None:
        """They come oldest first; no one of them is large enough."""
        call, approved = await self.authorized(provider)
        captures: tuple[Capture, ...] = ()
        for part in (400, 600):
            capture = self.later(call, approved, part)
            taken = sure(await self.asked(provider.capture, capture), capture)
            captures += (Capture(reference=taken.reference, amount_minor=part),)
        refund = self.later(call, approved, 1000, captures=captures)
        sure(await self.asked(provider.refund, refund), refund)

    async def test_it_gives_back_in_parts(self, provider: PaymentProvider) -> None:
        call, approved = await self.authorized(provider)
        capture = self.later(call, approved, 1000)
        taken = sure(await self.asked(provider.capture, capture), capture)
        captures = (Capture(reference=taken.reference, amount_minor=1000),)
        for part in (300, 700):
            refund = self.later(call, approved, part, captures=captures)
            sure(await self.asked(provider.refund, refund), refund)

    async def test_the_same_key_authorizes_once(self, provider: PaymentProvider) -> None:
        call = self.new_call()
        first, again = await self.asked(provider.authorize, call), await self.asked(provider.authorize, call)
        assert sure(first, call).reference == sure(again, call).reference, "the same key made a second authorization"

    async def test_the_same_key_at_once_is_one_call(self, provider: PaymentProvider) -> None:
        """A worker that hangs may still be calling when another takes over. Either call may be put off with an error."""
        call, approved = await self.authorized(provider)
        part, rest = self.later(call, approved, 600), self.later(call, approved, 400)
        both = await asyncio.gather(*(self.asked(provider.capture, part) for _ in range(2)), return_exceptions=True)
        answers = [sure(one, part) for one in both if not isinstance(one, Unavailable | NotYet)]
        answers.append(sure(await self.asked(provider.capture, part), part))
        assert len({answer.reference for answer in answers}) == 1, "the same key at once made two captures"
        sure(await self.asked(provider.capture, rest), rest)

    @pytest.mark.parametrize("verb", ["capture", "void", "refund"])
    async def test_the_same_key_moves_money_once(self, provider: PaymentProvider, verb: str) -> None:
        """Twice with one key, then the rest with another: if the first counted twice, there is too little left for the rest."""
        call, approved = await self.authorized(provider)
        captures: tuple[Capture, ...] = ()
        if verb == "refund":
            capture = self.later(call, approved, 1000)
            taken = sure(await self.asked(provider.capture, capture), capture)
            captures = (Capture(reference=taken.reference, amount_minor=1000),)
        do, part = getattr(provider, verb), self.later(call, approved, 600, captures=captures)
        first, again = [sure(await self.asked(do, part), part) for _ in range(2)]
        assert first.reference == again.reference, f"the same key made a second {verb}"
        rest = self.later(call, approved, 400, captures=captures)
        sure(await self.asked(do, rest), rest)

    async def test_another_key_is_another_call(self, provider: PaymentProvider) -> None:
        call, approved = await self.authorized(provider)
        parts = [self.later(call, approved, 500) for _ in range(2)]
        first, second = [sure(await self.asked(provider.capture, part), part) for part in parts]
        assert first.reference != second.reference, "two captures of the same amount were taken for one"

    async def test_calls_side_by_side_keep_apart(self, provider: PaymentProvider) -> None:
        calls = [self.new_call(1000 + n) for n in range(10)]
        answers = await asyncio.gather(*(self.asked(provider.authorize, call) for call in calls))
        references = {sure(answer, call).reference for answer, call in zip(answers, calls, strict=True)}
        assert len(references) == len(calls), "two orders have one reference"

    async def test_who_calls_nobody_answers_at_once(self, provider: PaymentProvider) -> None:
        """It is asked inside of a transaction, and nothing may wait there."""
        if not getattr(provider, "calls_nobody", False):
            return
        asking = provider.authorize(self.new_call()).__await__()
        with pytest.raises(StopIteration):
            next(asking)

    async def test_a_call_that_was_cancelled_can_be_made_again(self, provider: PaymentProvider) -> None:
        call = self.new_call()
        asking = asyncio.ensure_future(provider.authorize(call))
        await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        sure(await self.asked(provider.authorize, call), call)

    async def test_the_token_is_in_no_answer(self, provider: PaymentProvider) -> None:
        call = self.new_call()
        token = call.token.reveal() if call.token is not None else call.key + "-no-token"
        assert token not in sure(await self.asked(provider.authorize, call), call).reference, (
            "the reference holds the token"
        )


@pytest.mark.asyncio
class DecliningSuite(Payments):
    """For providers that can say no: set ``declined_token`` to one that your test account declines."""

    declined_token = ""

    async def test_a_no_is_an_answer_with_a_code(self, provider: PaymentProvider) -> None:
        answer = await self.asked(provider.authorize, self.new_call(token=Secret(self.declined_token)))
        assert isinstance(answer, Declined), "a card that is declined is an answer, and no error"
        assert answer.code.replace("_", "").replace("-", "").replace(".", "").isalnum(), "the code is a word"
        assert len(answer.code) <= 50
        assert self.declined_token not in answer.code + answer.sentence, "the answer holds the token"

    async def test_the_same_key_is_declined_again(self, provider: PaymentProvider) -> None:
        call = self.new_call(token=Secret(self.declined_token))
        first, again = await self.asked(provider.authorize, call), await self.asked(provider.authorize, call)
        assert isinstance(first, Declined)
        assert isinstance(again, Declined), "asked again, it says something else"
