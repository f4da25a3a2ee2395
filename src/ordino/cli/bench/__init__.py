"""``ordino bench``: the figures that Ordino must hold, each beside its floor, measured on this machine.

Every figure gets a fresh embedded PostgreSQL in a temporary directory, with the settings that ``ordino up`` uses, or a
fresh database on the server that ``ORDINO_DATABASE_URL`` names.
"""

from ordino.cli.bench.run import FIGURES, run

__all__ = ["FIGURES", "run"]
