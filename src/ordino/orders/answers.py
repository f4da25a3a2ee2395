"""Answers of payment providers, judged before anything is written down: by whom they are, of how much, and what they give away."""

from __future__ import annotations

import re
from typing import Any

from ordino.core.errors import AnswerLost, Refused
from ordino.core.secret import HIDDEN, Secret
from ordino.orders.providers import Approved, Declined, PaymentCall, PaymentProvider

REFERENCE_CHARACTERS = 200
SENTENCE_CHARACTERS = 300
UNNAMED = "declined"
_CODE = re.compile(r"[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*")
_NOTHING = Secret("")


async def answer_of(provider: PaymentProvider, name: str, verb: str, call: PaymentCall) -> Approved | Declined:
    """Ask, and return an answer that can be written down. The call's token is in none of its words, nor in those of an error.

    Raises what the provider raises; ``AnswerLost`` where it answers with nothing that makes sense, and ``Refused`` where it
    says that it moved more than it was asked to.
    """
    token = call.token or _NOTHING
    try:
        answer = await getattr(provider, verb)(call)
    except Exception as error:
        if _gives_away(error, token):
            raise _without(error, token, name) from None
        raise
    return _judged(answer, name, verb, call, token)


def _judged(answer: Any, name: str, verb: str, call: PaymentCall, token: Secret) -> Approved | Declined:
    if isinstance(answer, Declined):
        return _tidy(answer, token)
    if not isinstance(answer, Approved):
        said = type(answer).__name__
        raise AnswerLost(
            f"The payment provider {name} answered with {said}, which is no answer; its adapter has a fault."
        )
    reference = answer.reference
    if not isinstance(reference, str) or not _is_reference(reference):
        raise AnswerLost(
            f"The payment provider {name} approved without a reference of 1 to {REFERENCE_CHARACTERS} visible characters; "
            "its adapter has a fault."
        )
    if token.out_of(reference) != reference:
        raise Refused(
            f"The payment provider {name} uses the payment's token as its reference, and tokens are kept nowhere. "
            f"It may have done what it was asked: look there for the key {call.key}."
        )
    amount = call.amount_minor if answer.amount_minor is None else answer.amount_minor
    if type(amount) is not int:
        raise AnswerLost(
            f"The payment provider {name} approved an amount that is no whole number of minor units; its adapter has a fault."
        )
    if not 0 < amount <= call.amount_minor:
        raise Refused(
            f"The payment provider {name} was asked to {verb} {call.amount_minor} {call.currency} (minor units) and says that it "
            f"did {amount}. Nothing was written down: look there for the key {call.key}, correct it, and replay this."
        )
    return answer


def _tidy(answer: Declined, token: Secret) -> Declined:
    """A code that can be counted, and a sentence on one line."""
    code = answer.code if isinstance(answer.code, str) and len(answer.code) <= 50 else UNNAMED
    code = code if _CODE.fullmatch(code) else UNNAMED
    if token.out_of(code) != code:
        code = UNNAMED
    said = token.out_of(answer.sentence) if isinstance(answer.sentence, str) else ""
    sentence = "".join(sign if sign.isprintable() else " " for sign in said)
    return Declined(code, " ".join(sentence.split())[:SENTENCE_CHARACTERS])


def _is_reference(text: str) -> bool:
    return 1 <= len(text) <= REFERENCE_CHARACTERS and text.isprintable() and not text.isspace()


def _gives_away(error: BaseException, token: Secret) -> bool:
    said = str(error)
    return token.out_of(said) != said


def _without(error: Exception, token: Secret, name: str) -> Exception:
    """The same error without the token, or one that says as much as can be said."""
    error.args = tuple(token.out_of(arg) if isinstance(arg, str) else HIDDEN for arg in error.args)
    if isinstance(error, Refused):
        error.detail = token.out_of(error.detail)
    error.__cause__ = error.__context__ = None
    if _gives_away(error, token):
        return AnswerLost(f"The payment provider {name} failed ({type(error).__name__}) in words that are not kept.")
    return error
