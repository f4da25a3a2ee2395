"""All of it, or a part: a command that cannot be taken back says which. What is left out never means "everything"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ordino.core.errors import Fault


def extent_fault(field: str, part: Sequence[Any] | None, all: bool, *, of: str) -> Fault | None:
    """What is wrong with a command that names a part in ``field`` or says ``all``; None if it does one of the two.

    ``of`` says what everything is, as in "everything that is open".
    """
    if all and part is not None:
        return Fault("/all", f'Send either `{field}` or `"all": true`, not both.')
    if not all and not part:
        return Fault(
            "" if part is None else f"/{field}",
            f'Say what this is about: list it in `{field}`, or send `"all": true` for {of}.',
        )
    return None
