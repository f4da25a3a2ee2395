"""Texts that nobody may read by accident: tokens of payments."""

from __future__ import annotations

HIDDEN = "[secret]"


class Secret:
    """A text that shows itself only to who asks for it with ``reveal()``. Printed, formatted or logged, it is ``[secret]``."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text. Send it to who needs it, and write it nowhere."""
        return self._text

    def out_of(self, text: str) -> str:
        """Another text with this one hidden, wherever it stands in it."""
        return text.replace(self._text, HIDDEN) if self._text else text

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
