"""What the headers of a request say of its body: whether it is zipped, and how its text is written.

Nothing is guessed: a body whose headers say that it is written in a way that Ordino does not read is refused before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from ordino.core.charsets import codec_of, is_utf_8
from ordino.core.errors import UnsupportedMedia
from ordino.core.rows import CSV, GZIPPED, NDJSON, media_type_of

_CHARSET = re.compile(r""";\s*charset\s*=\s*("[^"]*"|[^;]*)""", re.IGNORECASE)


def refuse_media(headers: Iterable[tuple[bytes, bytes]], *, rows: Collection[str] = ()) -> None:
    """Raises ``UnsupportedMedia`` for a charset that is not read here, for a Content-Encoding other than gzip, and for gzip where
    the body holds no rows. ``rows`` are the media types of rows that the route takes; of these, CSV may have another charset
    than UTF-8.
    """
    types, encodings = [], []
    for name, value in headers:
        if name == b"content-type":
            types.append(value.decode("latin-1"))
        elif name == b"content-encoding":
            encodings.append(value.decode("latin-1").strip().lower())
    if any(";" in type_ for type_ in types) or len(types) > 1:
        _refuse_charset(types, rows)
    if encodings:
        _refuse_encoding(", ".join(encodings), media_type_of(types[-1] if types else ""))


def charset_of(content_type: str) -> str | None:
    """The charset that a Content-Type names first."""
    return next(iter(_charsets_of(content_type)), None)


def foreign_charset(content_type: str) -> str | None:
    """The charset that a Content-Type names, if it is not UTF-8."""
    return next((charset for charset in _charsets_of(content_type) if not is_utf_8(charset)), None)


def _charsets_of(content_type: str) -> list[str]:
    return [found.strip().strip('"').strip() for found in _CHARSET.findall(content_type)]


def _refuse_charset(types: Sequence[str], rows: Collection[str]) -> None:
    """Every charset that is named must be one that is read, and all of them the same."""
    csv = CSV in rows and all(media_type_of(type_) == CSV for type_ in types)
    named = [codec_of(charset, csv=csv) for type_ in types for charset in _charsets_of(type_)]
    if len(set(named)) > 1:
        raise UnsupportedMedia("The Content-Type names several charsets; name the one that the body is written in.")


def _refuse_encoding(encoding: str, media_type: str) -> None:
    if encoding in ("", "identity"):
        return
    if encoding not in GZIPPED:
        raise UnsupportedMedia(
            f"The Content-Encoding {encoding[:50]!r} is not read here; zip the body once, with gzip, or send it plain."
        )
    if media_type not in (CSV, NDJSON):
        raise UnsupportedMedia(f"Only rows of {CSV} or {NDJSON} may be zipped; send this body plain.")
