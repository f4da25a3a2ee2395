"""The ``ordino`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def arguments(sent: Sequence[str]) -> list[str]:
    """What was typed, normalized as codes are everywhere; paths of files that exist stay as they are."""
    from ordino.core.codes import normal

    return [word if Path(word).exists() else normal(word) for word in sent]


def main() -> None:
    """Run the command line. Expected failures end with a sentence and status 1, not with a traceback."""
    from ordino.cli.commands import app

    try:
        app(arguments(sys.argv[1:]))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        sentence = expected(error)
        if sentence is None:
            raise
        print(f"ordino: {sentence}", file=sys.stderr)
        raise SystemExit(1) from None


def expected(error: Exception) -> str | None:
    """The sentence for what can go wrong without a fault of Ordino's: its own errors, and trouble with the database. None for
    others, whose traceback is needed.
    """
    import asyncpg

    from ordino.core.errors import OrdinoError
    from ordino.core.troubles import MISTAKEN, causes, is_away, plain

    for one in causes(error):
        if isinstance(one, OrdinoError):
            return str(one)
        if isinstance(one, MISTAKEN) or (isinstance(one, asyncpg.PostgresError | ConnectionError) and is_away(one)):
            return plain(one)
    return None
