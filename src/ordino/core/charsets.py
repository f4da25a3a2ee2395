"""The charsets that a CSV may be written in: UTF-8, and a closed list of those that spreadsheets and retail systems write.

The list is closed because Python knows many more codecs, some of which are no charsets, or cost far more than they read. JSON and
NDJSON are UTF-8.
"""

from __future__ import annotations

import codecs
from typing import Any

from ordino.core.errors import Invalid, UnsupportedMedia

SAVED = "Save the file as UTF-8 (in Excel: 'CSV UTF-8') and send it again"
NAMED = "name its charset, as in text/csv; charset=windows-1252 (`ordino stock feed`: --charset windows-1252)"
UTF_8 = frozenset({"utf-8", "utf8", "utf-8-sig", "us-ascii", "ascii"})
"""ASCII is UTF-8, too; a byte order mark before UTF-8 is passed over, whether it is announced or not."""
_MARKED = "utf-16"
_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LONGEST_SHOWN = 50

# What people call a charset first, the codec that reads it, and its other names. East Asian charsets are read as Windows writes
# them: its code pages hold everything that the standards do, and more.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    ("utf-16", _MARKED, "utf16"),
    ("utf-16le", "utf-16-le", "utf-16-le"),
    ("utf-16be", "utf-16-be", "utf-16-be"),
    ("iso-8859-1", "iso8859-1", "latin1 latin-1 l1 iso8859-1"),
    ("iso-8859-2", "iso8859-2", "latin2 latin-2 l2 iso8859-2"),
    ("iso-8859-5", "iso8859-5", "cyrillic iso8859-5"),
    ("iso-8859-7", "iso8859-7", "greek iso8859-7"),
    ("iso-8859-9", "iso8859-9", "latin5 latin-5 l5 iso8859-9"),
    ("iso-8859-15", "iso8859-15", "latin9 latin-9 l9 iso8859-15"),
    ("windows-1250", "cp1250", "cp1250 x-cp1250"),
    ("windows-1251", "cp1251", "cp1251 x-cp1251"),
    ("windows-1252", "cp1252", "cp1252 x-cp1252"),
    ("windows-1253", "cp1253", "cp1253 x-cp1253"),
    ("windows-1254", "cp1254", "cp1254 x-cp1254"),
    ("windows-1255", "cp1255", "cp1255 x-cp1255"),
    ("windows-1256", "cp1256", "cp1256 x-cp1256"),
    ("windows-1257", "cp1257", "cp1257 x-cp1257"),
    ("windows-1258", "cp1258", "cp1258 x-cp1258"),
    ("windows-874", "cp874", "cp874 tis-620"),
    ("ibm437", "cp437", "cp437"),
    ("ibm850", "cp850", "cp850"),
    ("ibm852", "cp852", "cp852"),
    ("macintosh", "mac-roman", "mac-roman macroman x-mac-roman"),
    ("koi8-r", "koi8-r", "koi8r"),
    ("shift_jis", "cp932", "shift-jis sjis x-sjis ms-kanji windows-31j cp932 ms932"),
    ("euc-jp", "euc-jp", "eucjp x-euc-jp"),
    ("gb18030", "gb18030", "gbk gb2312 cp936 x-gbk"),
    ("big5", "cp950", "cp950 big5-eten"),
    ("euc-kr", "cp949", "euckr cp949 ks-c-5601-1987 windows-949"),
)
_CODECS = {called.replace("_", "-"): codec for name, codec, others in _KNOWN for called in (name, *others.split())}
CHARSETS = ("utf-8", *(name for name, _, _ in _KNOWN))


def is_utf_8(charset: str) -> bool:
    """Whether a charset's name means UTF-8."""
    return charset.lower() in UTF_8


def codec_of(charset: str | None, *, csv: bool) -> str | None:
    """The codec that reads a charset; None for UTF-8. Raises ``UnsupportedMedia`` for a charset that is not read here, and for any
    but UTF-8 unless the body is CSV.
    """
    if charset is None or is_utf_8(charset):
        return None
    shown = repr(charset[:_LONGEST_SHOWN])
    if not csv:
        raise UnsupportedMedia(f"The charset {shown} is not read here, only UTF-8. {SAVED}.")
    codec = _CODECS.get(charset.lower().replace("_", "-"))
    if codec is None:
        raise UnsupportedMedia(f"The charset {shown} is not known. {SAVED}, or name one of {', '.join(CHARSETS)}.")
    return codec


def decoder_of(codec: str | None, head: bytes, *, csv: bool) -> tuple[Any, str | None]:
    """An incremental decoder for a body that begins with ``head`` (two bytes or more, unless the body is shorter), and the codec
    that it follows, None for UTF-8. UTF-16 is recognized by its byte order mark. Raises ``UnsupportedMedia`` for UTF-16
    unless the body is CSV, and ``Invalid`` for what is to be UTF-16 and has no mark.
    """
    marked = _MARKS.get(head[:2])
    if codec is None and marked is not None:
        if not csv:
            raise UnsupportedMedia(f"This is UTF-16, and only UTF-8 is read. {SAVED}.")
        codec = marked
    elif codec == _MARKED:
        if head and marked is None:
            raise Invalid(
                "The text is to be UTF-16 and does not begin with a byte order mark. Name its byte order, as in text/csv; "
                "charset=utf-16le or charset=utf-16be, or save the file as UTF-8."
            )
        codec = marked
    return codecs.getincrementaldecoder(codec or "utf-8")(), codec


def not_decoded(error: UnicodeDecodeError, line: int, codec: str | None, *, csv: bool) -> Invalid:
    """What to tell somebody whose text cannot be read; ``line`` is the one in which what was being decoded begins."""
    before = bytes(error.object[: error.start]).decode(codec or "utf-8", "ignore")
    at = line + before.count("\n")
    if codec is not None:
        name = next(name for name, known, _ in _KNOWN if known == codec)
        return Invalid(f"Line {at} is not {name}: {error.reason}. {SAVED}, or name the charset that it is in.")
    otherwise = f", or {NAMED}" if csv else ""
    return Invalid(f"Line {at} is not UTF-8: {error.reason}. {SAVED}{otherwise}.")
