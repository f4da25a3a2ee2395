"""The suite of payment providers: a sound one passes, and each broken one fails the test that names its fault."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from connect.acme import SECRET, Acme
from connect.broken import failing
from connect.pages import acme_module
from ordino.connect.http import Limits
from ordino.connect.payments.manual import ManualProvider
from ordino.core.errors import Refused
from ordino.orders.providers import Approved, Declined, PaymentCall
from ordino.testing import DecliningSuite, HttpFaultsSuite, LocalServer, PaymentProviderSuite

NEAR = Limits(call_seconds=1, private_addresses=True)


class TestManual(PaymentProviderSuite):
    """Ordino's own."""

    @pytest.fixture
    def provider(self) -> ManualProvider:
        return ManualProvider()


class WholeSuite(PaymentProviderSuite, DecliningSuite):
    token = "tok_good"
    declined_token = "tok_declined"


class Bank:
    """A sound provider in memory: it keeps books by authorization, and knows the keys that it has answered."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.answers: dict[str, Approved | Declined] = {}

    def lacking(self) -> str | None:
        return None

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        return await self.once(call, self._authorize)

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        return await self.once(call, self._capture)

    async def void(self, call: PaymentCall) -> Approved | Declined:
        return await self.once(call, self._void)

    async def refund(self, call: PaymentCall) -> Approved | Declined:
        return await self.once(call, self._refund)

    async def once(self, call: PaymentCall, do: Any) -> Approved | Declined:
        await asyncio.sleep(0)
        if call.key not in self.answers:
            self.answers[call.key] = do(call)
        return self.answers[call.key]

    def _authorize(self, call: PaymentCall) -> Approved | Declined:
        if call.token is not None and call.token.reveal() == "tok_declined":
            return Declined("card_declined", "The card was declined.")
        reference = uuid4().hex
        self.held[reference], self.taken[reference] = call.amount_minor, 0
        return Approved(reference)

    def _move(self, call: PaymentCall, book: dict[str, int]) -> Approved | Declined:
        assert call.authorization is not None
        if call.amount_minor > book.get(call.authorization, 0):
            return Declined("not_enough")
        book[call.authorization] -= call.amount_minor
        return Approved(uuid4().hex)

    def _capture(self, call: PaymentCall) -> Approved | Declined:
        answer = self._move(call, self.held)
        if isinstance(answer, Approved):
            self.taken[str(call.authorization)] += call.amount_minor
        return answer

    def _void(self, call: PaymentCall) -> Approved | Declined:
        return self._move(call, self.held)

    def _refund(self, call: PaymentCall) -> Approved | Declined:
        return self._move(call, self.taken)


class Forgetful(Bank):
    """Does again what it is asked again."""

    async def once(self, call: PaymentCall, do: Any) -> Approved | Declined:
        return do(call)  # type: ignore[no-any-return]


class CapturesTwice(Bank):
    async def capture(self, call: PaymentCall) -> Approved | Declined:
        return self._capture(call)


class VoidsTwice(Bank):
    async def void(self, call: PaymentCall) -> Approved | Declined:
        return self._void(call)


class RefundsTwice(Bank):
    async def refund(self, call: PaymentCall) -> Approved | Declined:
        return self._refund(call)


class KeyByAmount(Bank):
    """Takes two captures of one amount for one."""

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        key = f"{call.authorization} {call.amount_minor}"
        if key not in self.answers:
            self.answers[key] = self._capture(call)
        return self.answers[key]


class Pretends(Bank):
    """Says that it calls nobody, and waits for somebody."""

    calls_nobody = True


class MixesUp(Bank):
    """Keeps the call on itself while it waits."""

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        self.now = call
        await asyncio.sleep(0.01)
        return await self.once(self.now, self._authorize)


class Truthful(Bank):
    """Says yes in a word of its own."""

    async def authorize(self, call: PaymentCall) -> Any:
        return True


class Empty(Bank):
    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        return Approved("")


class Generous(Bank):
    """Approves another amount than it was asked for."""

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        answer = await super().authorize(call)
        return Approved(answer.reference, call.amount_minor + 1) if isinstance(answer, Approved) else answer


class Talkative(Bank):
    """Its reference is the token."""

    def _authorize(self, call: PaymentCall) -> Approved | Declined:
        answer = super()._authorize(call)
        if isinstance(answer, Declined):
            return answer
        reference = f"{call.token.reveal() if call.token else ''}-{answer.reference}"
        self.held[reference], self.taken[reference] = self.held[answer.reference], 0
        return Approved(reference)


class TellsTheToken(Bank):
    def _authorize(self, call: PaymentCall) -> Approved | Declined:
        answer = super()._authorize(call)
        said = call.token.reveal() if call.token else ""
        return Declined("card_declined", f"{said} was declined") if isinstance(answer, Declined) else answer


class Raises(Bank):
    """Takes a no for an error."""

    def _authorize(self, call: PaymentCall) -> Approved | Declined:
        answer = super()._authorize(call)
        if isinstance(answer, Declined):
            raise Refused("The card was declined.")
        return answer


class ChangesItsMind(Bank):
    def __init__(self) -> None:
        super().__init__()
        self.declined: set[str] = set()

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        if call.key in self.declined:
            return Approved(uuid4().hex)
        answer = await super().authorize(call)
        if isinstance(answer, Declined):
            self.declined.add(call.key)
        return answer


class OnceOnly(Bank):
    """Knows no second capture of a payment."""

    def _capture(self, call: PaymentCall) -> Approved | Declined:
        answer = super()._capture(call)
        self.held[str(call.authorization)] = 0
        return answer


class WholeRefunds(Bank):
    def _refund(self, call: PaymentCall) -> Approved | Declined:
        answer = super()._refund(call)
        self.taken[str(call.authorization)] = 0
        return answer


class KeepsWhatIsHeld(Bank):
    async def void(self, call: PaymentCall) -> Approved | Declined:
        raise NotImplementedError


class Stuck(Bank):
    """Believes for ever that a call which was cancelled is still under way."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: set[str] = set()

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        if call.key in self.under_way:
            raise Refused("It is under way.")
        self.under_way.add(call.key)
        answer = await super().authorize(call)
        self.under_way.discard(call.key)
        return answer


class VoidsAll(Bank):
    """Lets go of the whole authorization, however much was said."""

    def _void(self, call: PaymentCall) -> Approved | Declined:
        answer = super()._void(call)
        self.held[str(call.authorization)] = 0
        return answer


class FirstCaptureOnly(Bank):
    """Gives back from the first capture only."""

    def _refund(self, call: PaymentCall) -> Approved | Declined:
        if call.amount_minor > call.captures[0].amount_minor:
            return Declined("not_enough")
        return super()._refund(call)


class LooksBeforeItActs(Bank):
    """Looks for the key, waits, and then acts: two calls at once both find nothing."""

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        if call.key in self.answers:
            return self.answers[call.key]
        await asyncio.sleep(0.01)
        self.answers[call.key] = self._capture(call)
        return self.answers[call.key]


class Hangs(Bank):
    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        return await asyncio.Event().wait()  # type: ignore[return-value]


class Fractions(Bank):
    """Approves a fraction that is as large as the whole."""

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        answer = await super().authorize(call)
        return Approved(answer.reference, float(call.amount_minor)) if isinstance(answer, Approved) else answer  # type: ignore[arg-type]


class Lacking(Bank):
    def lacking(self) -> str | None:
        return "Set BANK_KEY."


FAULTS: dict[type[Bank], str] = {
    Forgetful: "test_the_same_key_authorizes_once",
    CapturesTwice: "test_the_same_key_moves_money_once",
    VoidsTwice: "test_the_same_key_moves_money_once",
    RefundsTwice: "test_the_same_key_moves_money_once",
    KeyByAmount: "test_another_key_is_another_call",
    Pretends: "test_who_calls_nobody_answers_at_once",
    MixesUp: "test_calls_side_by_side_keep_apart",
    Truthful: "test_it_authorizes_under_a_reference",
    Empty: "test_it_authorizes_under_a_reference",
    Generous: "test_it_authorizes_under_a_reference",
    Talkative: "test_the_token_is_in_no_answer",
    TellsTheToken: "test_a_no_is_an_answer_with_a_code",
    Raises: "test_a_no_is_an_answer_with_a_code",
    ChangesItsMind: "test_the_same_key_is_declined_again",
    OnceOnly: "test_it_captures_in_parts",
    WholeRefunds: "test_it_gives_back_in_parts",
    VoidsAll: "test_what_is_not_let_go_can_be_captured",
    FirstCaptureOnly: "test_a_refund_may_be_of_several_captures",
    LooksBeforeItActs: "test_the_same_key_at_once_is_one_call",
    Hangs: "test_it_authorizes_under_a_reference",
    Fractions: "test_it_authorizes_under_a_reference",
    KeepsWhatIsHeld: "test_it_lets_go_of_what_is_not_captured",
    Stuck: "test_a_call_that_was_cancelled_can_be_made_again",
    Lacking: "test_it_lacks_nothing",
}


async def test_a_sound_provider_passes_the_suite() -> None:
    assert await failing(WholeSuite(), lambda: {"provider": Bank()}) == set()


@pytest.mark.parametrize("broken", FAULTS, ids=lambda broken: broken.__name__)
async def test_a_broken_provider_fails_the_test_that_names_its_fault(broken: type[Bank]) -> None:
    suite = WholeSuite()
    suite.seconds = 0.2
    assert FAULTS[broken] in await failing(suite, lambda: {"provider": broken()})


def test_every_test_of_the_suite_has_a_provider_that_fails_it() -> None:
    assert {name for name in dir(WholeSuite) if name.startswith("test_")} == set(FAULTS.values())


async def test_the_provider_of_the_page_passes_the_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_SECRET", SECRET)
    page = acme_module()
    async with LocalServer(Acme().answer) as server:
        made = page.AcmeProvider
        assert await failing(WholeSuite(), lambda: {"provider": made(server.url, limits=NEAR)}) == set()

    async def call_at(url: str) -> Any:
        return await page.AcmeProvider(url, limits=NEAR).capture(PaymentProviderSuite().new_call(authorization="a"))

    assert await failing(HttpFaultsSuite(), lambda: {"call_at": call_at}) == set()


async def test_an_adapter_that_leaves_http_to_its_library_fails_every_test_of_faults() -> None:
    async def call_at(url: str) -> Any:
        async with httpx.AsyncClient(follow_redirects=True, timeout=60) as client:
            response = await client.post(f"{url}/x", json={})
            return response.json() if response.content else None

    suite = HttpFaultsSuite()
    suite.seconds = 0.5
    assert await failing(suite, lambda: {"call_at": call_at}) == {n for n in dir(suite) if n.startswith("test_")}
