"""What the headers of a request say of its body: whether it is zipped, and how its text is written.

Nothing is guessed: a body whose headers say that it is written in a way that Ordino does not read is refused before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ordino.core.errors import UnsupportedMedia
from ordino.core.rows import CSV, GZIPPED, NDJSON, SAVED, media_type_of

UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""ASCII is UTF-8, too."""
_CHARSET = re.compile(r""";\s*charset\s*=\s*("[^"]*"|[^;]*)""", re.IGNORECASE)


def refuse_media(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises ``UnsupportedMedia`` for a charset other than UTF-8, for a Content-Encoding other than gzip, and for gzip where the
    body holds no rows.
    """
    type_, encodings = "", []
    for name, value in headers:
        if name == b"content-type":
            type_ = value.decode("latin-1")
            if (charset := foreign_charset(type_)) is not None:
                raise UnsupportedMedia(f"The charset {charset[:50]!r} is not read here, only UTF-8. {SAVED}")
        elif name == b"content-encoding":
            encodings.append(value.decode("latin-1").strip().lower())
    if encodings:
        _refuse_encoding(", ".join(encodings), media_type_of(type_))


def foreign_charset(content_type: str) -> str | None:
    """The charset that a Content-Type names, if it is not UTF-8."""
    named = (found.strip().strip('"').strip() for found in _CHARSET.findall(content_type))
    return next((charset for charset in named if charset.lower() not in UTF_8), None)


def _refuse_encoding(encoding: str, media_type: str) -> None:
    if encoding in ("", "identity"):
        return
    if encoding not in GZIPPED:
        raise UnsupportedMedia(
            f"The Content-Encoding {encoding[:50]!r} is not read here; zip the body once, with gzip, or send it plain."
        )
    if media_type not in (CSV, NDJSON):
        raise UnsupportedMedia(f"Only rows of {CSV} or {NDJSON} may be zipped; send this body plain.")
