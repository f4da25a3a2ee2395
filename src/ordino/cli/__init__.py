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
    from ordino.cli import signals

    if sys.argv[1:2] and sys.argv[1] in signals.LASTING:
        signals.install()
    from ordino.cli.commands import app
    from ordino.core.errors import OrdinoError, Unavailable
    from ordino.core.lifeline import VARIABLE
    from ordino.core.patience import TRY_LATER

    try:
        app(arguments(sys.argv[1:]))
    except OrdinoError as error:
        print(f"ordino: {error}", file=sys.stderr)
        # Whoever looks after this process tries again for as long as it takes.
        passing = isinstance(error, Unavailable) and VARIABLE in os.environ
        raise SystemExit(TRY_LATER if passing else 1) from None
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
