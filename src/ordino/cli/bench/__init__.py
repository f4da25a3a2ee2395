"""``ordino bench``: the figures that Ordino must hold, each beside its floor, measured on this machine.

Every figure gets a fresh embedded PostgreSQL in a temporary directory, with the settings that ``ordino up`` uses, or a
fresh database on the server that ``ORDINO_DATABASE_URL`` names.
"""


def run(name: str, *, seconds: float = 10.0, json: bool = False, small: bool = False) -> int:
    """Measure one figure, or ``all``, and print each as soon as it is there. A window lasts ``seconds``."""
    from ordino.cli import running
    from ordino.cli.bench import figures  # here, so that the load generator's process starts without all of it
    from ordino.cli.bench.scale import FULL, SMALL

    running.run(figures.run(name, seconds, json, SMALL if small else FULL))
    return 0
