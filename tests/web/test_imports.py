"""What does not answer requests does not load the web framework."""

from __future__ import annotations

import subprocess
import sys

LOADED = "import sys; import {}; print('litestar' in sys.modules)"


def test_the_command_line_starts_without_the_web_framework() -> None:
    for module in ("ordino.cli.commands", "ordino.web.bodies", "ordino.web.problems", "ordino.orders.place"):
        done = subprocess.run([sys.executable, "-c", LOADED.format(module)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False", module
