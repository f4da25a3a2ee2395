"""E-mail addresses: one function says whether a text is one, another makes it the one mailbox that a message goes to. What becomes
of a text that is none is for its caller to decide.
"""

from __future__ import annotations

import re
from email.headerregistry import Address
from typing import Annotated

from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from msgspec import Meta

from ordino.core.codes import TRIMMED, shown
from ordino.core.errors import Invalid

Email = Annotated[str, Meta(max_length=320, extra={TRIMMED: True})]
LONGEST_ORDINARY = 64
"""No part of a text of so many characters is too long."""

_ORDINARY = re.compile(
    r"[A-Za-z0-9_+-]++(?:\.[A-Za-z0-9_+-]++)*+@(?:[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+\.)+[A-Za-z]{2,}"
).fullmatch


def email_fault(text: str | None) -> str | None:
    """What is wrong with an address, as a sentence that shows it and says what to do; None if nothing is, or if there is none.

    An ordinary address costs one test of a regular expression. Others (internationalized ones, too) are judged by
    ``email-validator``; whether anybody can be reached there is not looked up.
    """
    if text is None or (len(text) <= LONGEST_ORDINARY and _ORDINARY(text)):
        return None
    try:
        _judged(text)
    except EmailNotValidError as error:
        why = str(error).rstrip(".")
        return f"{shown(text)} is not a valid email address. {why}. Send one such as ada@example.com, or leave the field out."
    return None


def mailbox(text: str) -> Address:
    """The one mailbox of an address, its domain in ASCII, for headers and for the mail server. Raises ``Invalid``."""
    if wrong := email_fault(text):
        raise Invalid(wrong)
    local, _, domain = text.rpartition("@")
    if not domain.isascii():
        domain = _judged(text).ascii_domain
    # The parser of address headers knows quotes, and the other way knows letters beyond ASCII.
    return Address(addr_spec=f"{local}@{domain}") if local.isascii() else Address(username=local, domain=domain)


def _judged(text: str) -> ValidatedEmail:
    return validate_email(text, check_deliverability=False, test_environment=True, allow_quoted_local=True, strict=True)
