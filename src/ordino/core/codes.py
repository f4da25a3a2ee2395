"""Codes: the names by which callers tell things apart. One rule for sellers, SKUs, locations, orders, lots and everything else.

A code is trimmed and in Unicode's normalization form C wherever it comes in: in bodies, files, paths, queries and on the command
line, so that ``tea `` names ``tea``. Case distinguishes. Inside, only single blanks part words; other white space, control
characters and characters without a width are refused, because nobody sees them. A ``/`` is allowed, and is written ``%2F`` in a
path; ``.`` and ``..`` alone are refused, because in a path they lead elsewhere, however they are written.

Instants and dates are held to the years of ``core/times.py`` on the same way.

What is normalized is what the types mark: every ``ShortCode``, ``Code`` and ``LongCode``, wherever it stands in a Struct, a list or
a mapping. A ``Label`` (a category) names no thing of its own and is written by people: white space inside it becomes single blanks.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, TypeGuard

import msgspec
from msgspec import Meta
from msgspec import inspect as types

from ordino.core.errors import Fault, Invalid
from ordino.core.times import may_be_far, year_fault

MARK = "code"
FOLDED = "folded"
TRIMMED = "trimmed"
"""Marks texts that are trimmed where they come in, and stay as written otherwise."""
_SAID = "The name by which it is told apart."
Code = Annotated[str, Meta(min_length=1, max_length=100, description=_SAID, extra={MARK: True})]
ShortCode = Annotated[str, Meta(min_length=1, max_length=50, description=_SAID, extra={MARK: True})]
ReasonCode = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$",
        max_length=50,
        description="A code of your own such as changed_mind: letters and digits, joined by _, . or -. Sentences go into `note`.",
    ),
]
LongCode = Annotated[str, Meta(min_length=1, max_length=200, description=_SAID, extra={MARK: True})]
Label = Annotated[str, Meta(min_length=1, max_length=200, extra={MARK: FOLDED})]

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ENDS_IN_BLANK = re.compile(rb' "[,:}\]\s]').search
"""A quote behind a blank that closes a text (one that opens a text is followed by something else, or by a text that begins so)."""
_SPACE = re.compile(r"[^\S ]| {2}")
_ELSEWHERE = frozenset({".", ".."})
SHOWN_CHARACTERS = 60
MOST_ITEMS = 50_000
"""No list that anybody sends in one body holds more; limits of single fields are lower."""


def normal(text: str) -> str:
    """The text trimmed and in normalization form C."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text).strip()


def wrong_with(code: str) -> str | None:
    """What speaks against a normalized code, as a sentence that says what to do; None if nothing does."""
    if not code:
        return "A code may not be empty or white space only; send a name."
    if code in _ELSEWHERE:
        return f"A path cannot name the code {code!r}; choose another code."
    if found := _UNSEEN.search(code):
        name = f"U+{ord(found[0]):04X}"
        return f"The code {shown(code)} contains the invisible character {name}; remove it."
    if _SPACE.search(code):
        return f"The code {shown(code)} contains white space other than single spaces; use single spaces."
    return None


def shown(text: str) -> str:
    """The text as a message quotes it: what cannot be seen is escaped, what is long is cut."""
    return ascii_unseen(repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"))


def ascii_unseen(text: str) -> str:
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_plain(body: bytes) -> bool:
    """Does a look at the JSON text prove that every code in it is normal, and no date far away? No text begins or ends with a
    blank, holds two in a row, an escape, or anything but printable ASCII, none is ``.`` or ``..``, and none begins like a date
    outside of the years that may be sent. False says only that one has to look closer.
    """
    if not body.isascii() or b"\\" in body or b"\x7f" in body or b'" ' in body or may_be_far(body):
        return False
    if b'."' in body and (b'"."' in body or b'".."' in body):
        return False
    if b"  " not in body:
        return b' "' not in body or _ENDS_IN_BLANK(body) is None
    if b"\n" not in body:
        return False
    texts = b'"'.join(
        body.split(b'"')[1::2]
    )  # indented; without escapes, a text stands between every other pair of quotes
    return b"  " not in texts and _ENDS_IN_BLANK(body) is None


def tidy_body(body: bytes, type_: Any) -> bytes:
    """A JSON body with its codes normalized. Raises ``Invalid`` that points to codes that cannot be and to dates that are far away.
    What is not JSON comes back as it is.
    """
    places = places_of(type_)
    if places is None:
        return body
    try:
        sent = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body
    tidied, faults = tidy(sent, type_)
    if faults:
        where = f"{faults[0].pointer}: " if faults[0].pointer else ""
        raise Invalid(f"{where}{faults[0].detail}", faults=faults)
    if tidied is sent:
        return body
    try:
        return msgspec.json.encode(tidied)
    except OverflowError:  # an integer beyond 64 bits, which the decoder is to complain of
        return json.dumps(tidied).encode()


def tidy(value: Any, type_: Any) -> tuple[Any, list[Fault]]:
    """A decoded value with the codes of its type normalized (the same object if they were), and what is wrong with it."""
    faults: list[Fault] = []
    places = places_of(type_)
    return (value if places is None else places(value, "", faults)), faults


Places = Callable[[Any, str, list[Fault]], Any]
"""Normalizes the codes within a value that stands at a pointer, and notes what is wrong."""


@cache
def places_of(type_: Any) -> Places | None:
    """Where codes stand in values of a type; None if nowhere."""
    return _places(types.type_info(type_), {})


def _places(info: types.Type, seen: dict[type, Any]) -> Places | None:
    if is_code(info):
        return _tidy_label if (info.extra or {})[MARK] == FOLDED else _tidy_code
    if isinstance(info, types.DateTimeType | types.DateType):
        return _near
    if isinstance(info, types.Metadata):
        return _trim if (info.extra or {}).get(TRIMMED) else _places(info.type, seen)
    if isinstance(info, types.UnionType):
        return _any_of([found for one in info.types if (found := _places(one, seen)) is not None])
    if isinstance(info, types.ListType | types.VarTupleType | types.SetType | types.FrozenSetType):
        item = _places(info.item_type, seen)
        return None if item is None else _items(item)
    if isinstance(info, types.DictType):
        return _mapping(_places(info.key_type, seen), _places(info.value_type, seen))
    if isinstance(info, types.StructType):
        return _struct(info, seen)
    return None


def is_code(info: types.Type) -> TypeGuard[types.Metadata]:
    """Is this the type of a code, or of a label?"""
    return isinstance(info, types.Metadata) and bool((info.extra or {}).get(MARK))


def _tidy_code(value: Any, pointer: str, faults: list[Fault]) -> Any:
    if not isinstance(value, str):
        return value
    code = normal(value)
    if value and (wrong := wrong_with(code)):
        faults.append(Fault(pointer, wrong))
    return value if code == value else code


def _tidy_label(value: Any, pointer: str, faults: list[Fault]) -> Any:
    if not isinstance(value, str):
        return value
    label = _tidy_code(" ".join(value.split()), pointer, faults)
    return value if label == value else label


def _near(value: Any, pointer: str, faults: list[Fault]) -> Any:
    if isinstance(value, str) and (wrong := year_fault(value)):
        faults.append(Fault(pointer, wrong))
    return value


def _trim(value: Any, pointer: str, faults: list[Fault]) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    return value if text == value else text


def _any_of(options: list[Places]) -> Places | None:
    if len(options) < 2:
        return options[0] if options else None

    def tidied(value: Any, pointer: str, faults: list[Fault]) -> Any:
        for option in options:
            value = option(value, pointer, faults)
        return value

    return tidied


def _items(item: Places) -> Places:
    def tidied(value: Any, pointer: str, faults: list[Fault]) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            return value
        if len(value) > MOST_ITEMS:
            faults.append(
                Fault(pointer, f"A list has at most {MOST_ITEMS} items, this one {len(value)}; send it in parts.")
            )
            return value
        new = [item(one, f"{pointer}/{index}", faults) for index, one in enumerate(value)]
        return value if all(map(_is, new, value)) else new

    return tidied


def _mapping(key: Places | None, held: Places | None) -> Places | None:
    if key is None and held is None:
        return None

    def tidied(value: Any, pointer: str, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key(name, f"{pointer}/{name}", faults) if key else name: held(one, f"{pointer}/{name}", faults)
            if held
            else one
            for name, one in value.items()
        }

    return tidied


def _struct(info: types.StructType, seen: dict[type, Any]) -> Places | None:
    if info.cls in seen:
        return lambda value, pointer, faults: seen[info.cls](value, pointer, faults) if seen[info.cls] else value
    seen[info.cls] = None
    fields = {field.encode_name: found for field in info.fields if (found := _places(field.type, seen)) is not None}

    def tidied(value: Any, pointer: str, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            return value
        new = {name: fields[name](value[name], f"{pointer}/{name}", faults) for name in fields if name in value}
        return value if all(new[name] is value[name] for name in new) else {**value, **new}

    if fields:
        seen[info.cls] = tidied
    return tidied if fields else None


def _is(one: Any, other: Any) -> bool:
    return one is other


def texts_of(type_: Any) -> Iterator[tuple[str, str, types.Type]]:
    """Every text in values of a type: the Struct, the field, and the text's own type. For those who check that no code escapes."""
    yield from _texts(types.type_info(type_), ("", ""), set())


def _texts(info: types.Type, where: tuple[str, str], seen: set[type]) -> Iterator[tuple[str, str, types.Type]]:
    inner: Mapping[str, types.Type] = {}
    if is_code(info) or isinstance(info, types.StrType):
        yield *where, info
    elif isinstance(info, types.StructType):
        if info.cls not in seen:
            seen.add(info.cls)
            for field in info.fields:
                yield from _texts(field.type, (info.cls.__name__, field.encode_name), seen)
    elif isinstance(info, types.UnionType):
        inner = {str(index): one for index, one in enumerate(info.types)}
    elif isinstance(info, types.Metadata):
        inner = {"": info.type}
    elif isinstance(info, types.ListType | types.VarTupleType | types.SetType | types.FrozenSetType):
        inner = {"": info.item_type}
    elif isinstance(info, types.DictType):
        inner = {"key": info.key_type, "value": info.value_type}
    for one in inner.values():
        yield from _texts(one, where, seen)
