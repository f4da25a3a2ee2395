"""What comes in: JSON bodies of one thing or of many, decoded with a pointer to whatever is wrong with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from ordino.core.codes import is_plain, tidy_body
from ordino.core.errors import Fault, Invalid
from ordino.core.upserts import fault_of
from ordino.web.problems import too_large

T = TypeVar("T")
encode = msgspec.json.Encoder().encode

JSON = "application/json"
ITEMS = 10_000
ONE_BYTES = 2_000_000
"""So large may the body of a single thing be; lists may be as large as ``ORDINO_BODY_LIMIT_BYTES`` says."""
DECODED_AT_ONCE = 64 * 1024
LIST_BYTES = 2**31
TOO_DEEP = "The body is nested too deeply."
NO_NUL = "Texts may not hold U+0000."

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


async def apart(decode: Callable[[bytes], T], body: bytes) -> T:
    """What ``decode`` makes of a body. A large one is decoded in a thread, so that other requests are answered meanwhile."""
    return decode(body) if len(body) <= DECODED_AT_ONCE else await asyncio.to_thread(decode, body)


def decode(body: bytes, decoder: msgspec.json.Decoder[T], *, most_bytes: int = ONE_BYTES) -> T:
    """The body with its codes normalized, or ``Invalid`` with a pointer to what is wrong, as it is for more than ``most_bytes``."""
    if len(body) > most_bytes:
        raise too_large(f"A body has at most {most_bytes} bytes here, not {len(body)}.")
    if not (plain := is_plain(body)):
        body = tidy_body(body, decoder.type)
    try:
        decoded = decoder.decode(body)
    except msgspec.ValidationError as error:
        fault = fault_of(error)
        where = f"{fault.pointer}: " if fault.pointer else ""
        raise Invalid(f"{where}{fault.detail}", faults=[fault]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is not JSON: {error}.", faults=[Fault("", str(error))]) from error
    except RecursionError as error:
        raise Invalid(TOO_DEEP, faults=[Fault("", TOO_DEEP)]) from error
    if not plain and holds_nul(body):
        faults = [Fault(pointer, NO_NUL) for pointer in _with_nul(msgspec.json.decode(body))]
        raise Invalid(f"{NO_NUL} {faults[0].pointer} does.", faults=faults)
    return decoded


def holds_nul(body: bytes) -> bool:
    """Does some text in this JSON hold U+0000? A backslash before ``u0000`` that is itself escaped does not make one."""
    return b"\\u0000" in body and _NUL.search(body) is not None


def _with_nul(value: Any, pointer: str = "") -> Iterator[str]:
    """Where texts hold U+0000."""
    if isinstance(value, str) and "\x00" in value:
        yield pointer
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _with_nul(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from [pointer] if "\x00" in name else _with_nul(item, f"{pointer}/{name}")


class Batch(msgspec.Struct, frozen=True):
    """What became of each item, in order."""

    outcomes: list[Any]


class Body:
    """Bodies of one kind of item: one object, a list of them, or a list under its plural name."""

    def __init__(self, name: str, type_: type[Any], *, most: int = ITEMS) -> None:
        self.name = name
        self.type = type_
        self.most = most
        self._one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(type_)
        self._list: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[type_])  # type: ignore[valid-type]
        named = msgspec.defstruct(f"{type_.__name__}Batch", [(name, list[type_])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._named: msgspec.json.Decoder[Any] = msgspec.json.Decoder(named)
        self._begins = re.compile(rb'\s*\{\s*"' + name.encode() + rb'"\s*:\s*\[')

    def decode(self, body: bytes) -> tuple[list[Any], bool]:
        """The items, and whether one stood alone. Raises ``Invalid``."""
        if body[:1] == b"[" or body.lstrip()[:1] == b"[":
            items, alone = decode(body, self._list, most_bytes=LIST_BYTES), False
        elif self._begins.match(body):
            items, alone = getattr(decode(body, self._named, most_bytes=LIST_BYTES), self.name), False
        else:
            return [decode(body, self._one)], True
        if not items or len(items) > self.most:
            raise Invalid(f"Send 1 to {self.most} {self.name} at once, not {len(items)}.")
        return items, alone
