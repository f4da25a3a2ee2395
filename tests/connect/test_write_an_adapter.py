"""The page for authors of adapters: its code is saved as it says, and its tests are run as an author would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from connect.pages import PAGE, acme_module, blocks
from ordino.core.adapters import PORTS, load_all
from ordino.orders.providers import PaymentProvider

CONFTEST = """
import pytest
from connect.acme import in_a_thread

@pytest.fixture(scope="session", autouse=True)
def acme():
    with in_a_thread() as url:
        yield url
"""


def test_the_tests_of_the_page_pass_as_an_author_runs_them(tmp_path: Path) -> None:
    code, tests = blocks("python")
    (tmp_path / "acme_ordino.py").write_text(code)
    (tmp_path / "test_acme.py").write_text(tests)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) > 25
    assert "skipped" not in done.stdout


def test_the_page_names_the_entry_point_and_the_class_that_are_there() -> None:
    [project] = blocks("toml")
    named = tomllib.loads(project)["project"]["entry-points"]
    assert named == {"ordino.payment_providers": {"acme": "acme_ordino:AcmeProvider"}}
    provider = acme_module().AcmeProvider
    assert all(hasattr(provider, name) for name in vars(PaymentProvider) if not name.startswith("_"))


def test_the_page_names_every_port_and_every_suite() -> None:
    import ordino.testing

    load_all()
    said = PAGE.read_text(encoding="utf-8")
    for port in PORTS.values():
        assert f"`{port.group.removeprefix('ordino.')}`" in said
    for name in ordino.testing.__all__:
        assert not name.endswith("Suite") or f"`{name}`" in said
