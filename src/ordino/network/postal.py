"""Postal codes as they are compared: one form a country, however people write them.

Addresses and locations keep what was written, for the label; look-ups, lanes, served prefixes and routing profiles compare these
forms.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from ordino.core.codes import TRIMMED

PostalText = Annotated[str, Meta(min_length=1, max_length=20, extra={TRIMMED: True})]
MEMO = 100_000

ZIP_COUNTRIES = frozenset({"US", "PR", "GU", "VI", "AS", "MP", "FM", "MH", "PW"})
BRITISH = frozenset({"GB", "GG", "JE", "IM"})
_APART = re.compile(r"[\s\u2010-\u2015\u2212-]+")
_ZIP = re.compile("[0-9]{5}(?:[0-9]{4})?")
_CANADIAN = re.compile("[A-Z][0-9][A-Z][0-9][A-Z][0-9]")
_OUTWARD_INWARD = re.compile("([A-Z]{1,2}[0-9][0-9A-Z]?)([0-9][A-Z]{2})")
_DUTCH = re.compile("[0-9]{4}[A-Z]{2}")

# How codes begin, where no country is said: what is written apart stays apart where a blank means something.
_ZIP_PLUS_FOUR = re.compile("([0-9]{5})[ -][0-9]{4}")
_PARTED = re.compile("([A-Z]{1,2}[0-9][0-9A-Z]?) ([0-9][A-Z]?[0-9A-Z]?)")
_UNPARTED = re.compile("([A-Z]{1,2}[0-9][A-Z])([0-9][A-Z]?[0-9A-Z]?)")
_DUTCH_BEGINNING = re.compile("([0-9]{4}) ?([A-Z]{1,2})")


@lru_cache(MEMO)
def normal(country: str, postal_code: str) -> str:
    """The form in which a country's postal codes are compared.

    US: the first five digits of a ZIP code (+4). Canada: ``A1A 1A1``. United Kingdom: outward and inward part with one blank. The
    Netherlands: ``1234 AB``. Elsewhere, and where a code has no such form: upper case, without blanks and hyphens.
    """
    code = _APART.sub("", postal_code).upper()
    if country in ZIP_COUNTRIES:
        return code[:5] if _ZIP.fullmatch(code) else code
    if country == "CA" and _CANADIAN.fullmatch(code):
        return f"{code[:3]} {code[3:]}"
    if country == "NL" and _DUTCH.fullmatch(code):
        return f"{code[:4]} {code[4:]}"
    if country in BRITISH and (parts := _OUTWARD_INWARD.fullmatch(code)):
        return f"{parts[1]} {parts[2]}"
    return code


def first_part(country: str, postal_code: str) -> str:
    """The form of what stands before the first blank or hyphen: tables may know districts only."""
    parts = _APART.split(normal(country, postal_code), 1)
    return parts[0] if len(parts) > 1 else normal(country, _APART.split(postal_code.strip(), 1)[0])


@lru_cache(MEMO)
def beginning(prefix: str) -> str:
    """The form of how postal codes begin, of any country: normal forms begin so."""
    text = _APART.sub(" ", prefix).strip().upper()
    for form in (_ZIP_PLUS_FOUR, _PARTED, _UNPARTED, _DUTCH_BEGINNING):
        if found := form.fullmatch(text):
            return " ".join(found.groups())
    code = text.replace(" ", "")
    if parts := _OUTWARD_INWARD.fullmatch(code):
        return f"{parts[1]} {parts[2]}"
    return code


def destination(place: str) -> str:
    """A country, or a country and how its postal codes begin (``US-97``), in the form of ``within``."""
    country, apart, prefix = place.partition("-")
    return f"{country}-{beginning(prefix)}" if apart else country


def within(country: str, postal_code: str) -> str:
    """Country and postal code in their form, as in ``US-43215``: forms of ``destination`` are beginnings of it."""
    return f"{country}-{normal(country, postal_code)}"
