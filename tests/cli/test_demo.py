"""The demo: real purchases in, every stage run, the same by the same seed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from conftest import command, database_at, finish
from ordino.cli import running
from ordino.cli.demo import baskets, days, shoppers
from ordino.cli.demo import run as demo
from ordino.cli.demo.baskets import Month
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.places import settle
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import Conflict, Refused
from ordino.core.settings import Settings

ORDERS = 150
SEED = 11


@pytest.fixture(scope="module")
def purchases() -> Month:
    return baskets.load(most=ORDERS)


@pytest.fixture(scope="module")
def urls(cluster: EmbeddedPostgres, template: str) -> Iterator[list[str]]:
    names = ["demo_one", "demo_two", "demo_three"]
    for name in names:
        finish(command(cluster.url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield [database_at(cluster.url, name) for name in names]
    for name in names:
        finish(command(cluster.url, f"DROP DATABASE {name} WITH (FORCE)"))


def replayed(url: str, purchases: Month, seed: int) -> tuple[demo.Outcome, str]:
    finish(running.prepare(url))
    written = io.StringIO()
    console = Console(file=written, width=160)
    outcome = finish(demo.replay(url, purchases, seed=seed, month=baskets.ORDINARY_MONTH, console=console, seconds={}))
    return outcome, written.getvalue()


@pytest.fixture(scope="module")
def once(urls: list[str], purchases: Month) -> tuple[demo.Outcome, str]:
    running.load_stages()
    return replayed(urls[0], purchases, SEED)


def test_every_order_comes_to_an_end_and_every_promise_holds(once: tuple[demo.Outcome, str]) -> None:
    outcome, _ = once
    assert outcome.report.broken == []
    assert {status for status, _ in outcome.statuses} <= {"delivered", "returned", "cancelled"}
    assert sum(count for _, count in outcome.statuses) == outcome.counts["placed"]
    assert outcome.counts["placed"] + outcome.counts["refused"] == ORDERS


def test_every_stage_has_work(once: tuple[demo.Outcome, str]) -> None:
    outcome, _ = once
    for what in ("placed", "picked", "packed", "shipped", "delivered", "cancelled", "returned", "answers"):
        assert outcome.counts[what] > 0, what


def test_the_report_names_states_and_kpis(once: tuple[demo.Outcome, str]) -> None:
    outcome, written = once
    for kpi in outcome.kpis:
        assert kpi.title in written
    assert "Orders by state" in written
    assert "Every promise holds." in written


def test_the_same_seed_is_the_same_month(once: tuple[demo.Outcome, str], urls: list[str], purchases: Month) -> None:
    outcome, _ = once
    again, _ = replayed(urls[1], purchases, SEED)
    assert again.counts == outcome.counts
    assert again.statuses == outcome.statuses
    assert again.kpis == outcome.kpis
    assert again.until == outcome.until


def test_another_seed_is_another_month(once: tuple[demo.Outcome, str], urls: list[str], purchases: Month) -> None:
    outcome, _ = once
    other, _ = replayed(urls[2], purchases, SEED + 1)
    assert other.report.clean
    assert other.kpis != outcome.kpis


def test_a_database_in_use_is_left_alone(once: tuple[demo.Outcome, str], urls: list[str], purchases: Month) -> None:
    with pytest.raises(Conflict, match="empty"):
        replayed(urls[0], purchases, SEED)


def test_the_cleaned_month_is_what_its_description_says() -> None:
    month = baskets.load(3)
    assert len(month.baskets) == 11_645
    assert sum(month.dropped.values()) + sum(len(basket.lines) for basket in month.baskets) == 124_565
    for reason, count in month.dropped.items():
        assert reason in (baskets.__doc__ or "")
        assert f"({count:,})" in (baskets.__doc__ or "") or count == 0
    assert all(basket.discount_minor >= 0 and basket.lines for basket in month.baskets)
    assert month.baskets[0].at >= datetime(2017, 3, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "grams"),
    [
        ("16 OZ", 454),
        ("6 PK12 OZ", 2041),
        ("2 L", 2000),
        ("5 LB", 2268),
        ("1/2 GAL", 1892),
        ("1/0 GAL", None),
        ("300 CT(1)", None),
        ("", None),
        (None, None),
    ],
)
def test_a_package_size_weighs_what_it_says(size: str | None, grams: int | None) -> None:
    assert baskets.weight_grams(size) == grams


def test_totals_add_up_to_the_cent(purchases: Month) -> None:
    dice = Dice(SEED)
    for cart in shoppers.carts(purchases.baskets, settle(purchases.baskets, dice).homes, dice):
        order = cart.order
        goods = sum(line.quantity * line.unit_price_minor for line in order.lines)
        assert order.total_minor == goods + order.shipping_minor + order.tax_minor - order.discount_minor
        assert msgspec.convert(msgspec.to_builtins(order), type(order)) == order


def test_a_household_stays_where_it_is(purchases: Month) -> None:
    dice = Dice(SEED)
    homes = settle(purchases.baskets, dice).homes
    assert homes == settle(purchases.baskets, Dice(SEED)).homes
    assert homes != settle(purchases.baskets, Dice(SEED + 1)).homes


def test_chance_is_a_function_of_its_names() -> None:
    assert Dice(1).chance("a", 1) == Dice(1).chance("a", 1)
    assert len({Dice(seed).chance("a", n) for seed in (1, 2) for n in range(50)}) == 100
    assert {Dice(3).between(1, 3, n) for n in range(100)} == {1, 2, 3}


def test_the_clock_strikes_in_local_time_across_the_change_of_march() -> None:
    start, end = days.month_bounds(3)
    hours = [days.hour_of(at) for at in days.steps(start, busy_until=end, until=end)]
    assert hours.count(7) == 31
    assert hours.count(23) == 31


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(baskets, "import_module", missing)
    with pytest.raises(Refused, match=r"pip install 'ordino\[demo\]'"):
        baskets.load()


def test_a_demo_never_touches_the_data_directory_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    class Watched:
        def __init__(self, directory: Path, **_: object) -> None:
            seen.append(directory)

        def __enter__(self) -> Watched:
            raise InterruptedError

        def __exit__(self, *_: object) -> None:
            return None

    (tmp_path / "postgres").mkdir()
    monkeypatch.setattr(demo, "EmbeddedPostgres", Watched)
    with pytest.raises(InterruptedError):
        demo.run(Settings(data_directory=tmp_path), orders=1, exit=True, console=Console(file=io.StringIO()))
    assert seen == [tmp_path / "demo"]
    assert (tmp_path / "postgres").is_dir()


def test_the_command_replays_a_month_and_ends() -> None:
    with tempfile.TemporaryDirectory(prefix="ordino-demo-") as directory:
        os.chmod(directory, 0o711)  # as root, the server's own user passes through
        done = subprocess.run(
            [sys.executable, "-m", "ordino", "demo", "--orders", "60", "--exit"],
            env={**os.environ, "ORDINO_DATA_DIRECTORY": directory, "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What to open next" in done.stdout
