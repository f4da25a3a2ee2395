"""``python -m ordino``."""

from ordino.cli import main

main()
