"""The ``ordino`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Expected failures end with a sentence and status 1, not with a traceback."""
    from ordino.cli.commands import app
    from ordino.core.errors import OrdinoError

    try:
        app()
    except OrdinoError as error:
        print(f"ordino: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
