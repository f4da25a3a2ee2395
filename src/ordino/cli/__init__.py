"""The ``ordino`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def arguments(sent: Sequence[str]) -> list[str]:
    """What was typed, normalized like any code. Paths of files that exist stay as they are, and so does what `ordino call`
    sends: the API normalizes that.
    """
    from ordino.core.codes import normal

    if sent[:1] == ["call"]:
        return list(sent)
    return [word if os.path.exists(word) else normal(word) for word in sent]


def main() -> None:
    """Run the command line. Expected failures end with a sentence and status 1, not with a traceback."""
    from ordino.cli import signals

    if sys.argv[1:2] and sys.argv[1] in signals.LASTING:
        signals.install()
    from ordino.cli.commands import app
    from ordino.core.lifeline import VARIABLE
    from ordino.core.patience import TRY_LATER

    try:
        app(arguments(sys.argv[1:]))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        found = expected(error)
        if found is None:
            raise
        sentence, passing = found
        print(f"ordino: {sentence}", file=sys.stderr)
        # Whoever looks after this process tries again for as long as it takes.
        raise SystemExit(TRY_LATER if passing and VARIABLE in os.environ else 1) from None


def expected(error: Exception) -> tuple[str, bool] | None:
    """What can go wrong without a fault of Ordino's, its own errors and trouble with the database: the sentence for it, and does
    it pass by itself? None for others, whose traceback is needed.
    """
    import asyncpg

    from ordino.core.errors import OrdinoError, Unavailable
    from ordino.core.troubles import MISTAKEN, causes, is_away, plain

    for one in causes(error):
        if isinstance(one, OrdinoError):
            return str(one), isinstance(one, Unavailable)
        away = isinstance(one, asyncpg.PostgresError | ConnectionError) and is_away(one)
        if (away or isinstance(one, MISTAKEN)) and (sentence := plain(one)) is not None:
            return sentence, away and not isinstance(one, MISTAKEN)
    return None
