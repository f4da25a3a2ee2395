"""What decoders complain of, in the words of those who send bodies and files rather than those who write types."""

from __future__ import annotations

import re

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "datetime": "a date with a time, such as 2026-11-27T08:00:00Z",
    "date": "a date such as 2026-11-27",
    "uuid": "an id such as 01a223bc-af50-7000-8000-0a7da0f31a6f",
}
_GOT = {**_WORDS, "float": "a number with decimals", "bool": "true or false as a JSON boolean"}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_UNITS = {"str": "character", "array": "item", "object": "entry"}
_SENTENCES = {
    "Expected `datetime` with a timezone component": "A time needs its offset, such as the Z in 2026-11-27T08:00:00Z",
    "Invalid RFC3339 encoded datetime": "This is not a date with a time; write one such as 2026-11-27T08:00:00Z",
    "Invalid RFC3339 encoded date": "This is not a date; write one such as 2026-11-27",
    "Invalid UUID": "This is not an id; ids look like 01a223bc-af50-7000-8000-0a7da0f31a6f",
}

_PATTERNS = {
    r"^[^\x00]*$": "text without U+0000",
    r"^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$": "a code such as changed_mind, without blanks; put sentences into `note`",
    r"^[A-Z]{2}$": 'two capital letters, such as "US"',
    r"^[0-9]{1,12}(\.[0-9]{1,12})?$": 'a decimal number as text, such as "149.25"',
}
"""Regular expressions of fields, in words."""

_GOT_ANOTHER = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`")
_BOUND = re.compile(r"Expected `(int|float)` (>=|<=|>|<) (\S+)")
_LENGTH = re.compile(r"Expected `(str|array|object)` of length (>=|<=) (\d+)")
_PATTERN = re.compile(r"Expected `str` matching regex '(.*)'", re.DOTALL)
_ENUM = re.compile(r"Invalid (?:enum )?value (.+)", re.DOTALL)


def plain_words(said: str) -> str:
    """A decoder's complaint (without its path and full stop) as part of a sentence. What is not known comes back as it is."""
    if found := _GOT_ANOTHER.fullmatch(said):
        wanted = " or ".join(_WORDS.get(name, name) for name in found[1].split(" | "))
        return f"Expected {wanted}, but got {_GOT.get(found[2], found[2])}"
    if found := _BOUND.fullmatch(said):
        return f"Expected {_WORDS[found[1]]} that is {_BOUNDS[found[2]]} {found[3].removesuffix('.0')}"
    if found := _LENGTH.fullmatch(said):
        unit = _UNITS[found[1]]
        many = unit if found[3] == "1" else "entries" if unit == "entry" else f"{unit}s"
        return f"Expected {_BOUNDS[found[2]]} {found[3]} {many}"
    if found := _PATTERN.fullmatch(said):
        pattern = found[1].replace("\\\\", "\\")  # as it was written: the decoder shows it escaped
        return f"Expected {_PATTERNS.get(pattern, f'text that matches the regular expression {pattern}')}"
    if found := _ENUM.fullmatch(said):
        return f"{found[1]} is not a value of this field; /schema lists its values"
    return _SENTENCES.get(said, said)
