"""Every figure of ``ordino bench`` runs, on a small world: a bench that nothing runs breaks unseen."""

from __future__ import annotations

import json
import subprocess

import pytest

from ordino.cli.bench.figures import FIGURES, IN_ALL
from ordino.cli.commands import app
from processes import ordino, told

FOUND = {
    "stores": {"atp_stores"},
    "feed": {"feed_5_percent", "feed_100_percent"},
    "snapshot": {"snapshot_5_percent", "snapshot_100_percent"},
    "sourcing": {"sourcing", "sourcing_exact", "promises", "place_1000"},
}
"""What a figure tells, if it is more than itself."""


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_runs(name: str) -> None:
    words = [*ordino, "bench", name, "--seconds", "1", "--small", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert {figure["name"] for figure in figures} == FOUND.get(name, {name})
    for figure in figures:
        assert figure["rate"] > 0
        assert (figure["ratio"] is None) is (figure["floor"] is None)
        assert figure["conditions"].get("refused_or_failed", 0) == 0


def test_the_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "--help"])
    said = capsys.readouterr().out
    assert [name for name in (*FIGURES, "all") if name not in said] == []
    assert set(IN_ALL) <= set(FIGURES)


def test_an_unknown_figure_is_told_which_there_are() -> None:
    status, said = told("bench", "speed")
    assert status == 1
    assert "choose from place, hot" in said
