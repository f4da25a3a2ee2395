"""``ordino bench``: the figures that Ordino must hold, each beside its floor, measured on this machine.

Every figure gets a fresh embedded PostgreSQL in a temporary directory, with the settings that ``ordino up`` uses, or a
fresh database on the server that ``ORDINO_DATABASE_URL`` names.
"""

NAMES = ("place", "hot", "life", "atp", "feed", "verify")


def run(name: str, *, seconds: float = 10.0, json: bool = False) -> int:
    """Measure one figure of ``NAMES``, or ``all``, and print each as soon as it is there. A window lasts ``seconds``."""
    from ordino.cli import running
    from ordino.cli.bench import figures  # here, so that the load generator's process starts without all of it

    running.run(figures.run(name, seconds, json))
    return 0
