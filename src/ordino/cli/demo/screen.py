"""What the demo shows: a progress bar while the month runs, and tables at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ordino.cli.demo.days import LOCAL
from ordino.cli.kpis import value_in_words
from ordino.core.money import amount
from ordino.insights.model import Kpi, Unit

STAGES = ("placed", "picked", "packed", "shipped", "delivered", "cancelled", "returned")


class Bar:
    """Orders placed, the simulated day, and how far the stages are; a context manager."""

    def __init__(self, console: Console, orders: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[day]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[stages]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID = self._progress.add_task("orders", total=orders, day="", stages="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, at: datetime, sent: int, counts: Counter[str]) -> None:
        """``sent`` orders have been handed in; ``counts`` says how many got how far."""
        stages = "  ".join(f"{stage} {counts[stage]:,}" for stage in STAGES if counts[stage])
        self._progress.update(self._task, completed=sent, day=f"{at.astimezone(LOCAL):%a %d %b %H:%M}", stages=stages)


def statuses(rows: Sequence[Any]) -> Table:
    """Orders by state."""
    table = Table(title="Orders by state")
    for column in ("state", "orders", "units", "worth"):
        table.add_column(column, justify="left" if column == "state" else "right")
    for row in rows:
        table.add_row(row["status"], f"{row['orders']:,}", f"{row['units']:,}", amount(row["total_minor"], "USD"))
    table.add_section()
    totals = [sum(row[column] for row in rows) for column in ("orders", "units", "total_minor")]
    table.add_row("all", f"{totals[0]:,}", f"{totals[1]:,}", amount(totals[2], "USD"))
    return table


def kpi_table(kpis: Sequence[Kpi]) -> Table:
    """Every KPI with its formula; parts beneath it, and the reason where there is no number."""
    table = Table(title="KPIs")
    table.add_column("KPI")
    table.add_column("value", justify="right")
    table.add_column("formula")
    for kpi in kpis:
        if kpi.value is None:
            table.add_row(kpi.title, "[dim]not measurable[/]", f"[dim]{kpi.missing}[/]")
            continue
        table.add_row(kpi.title, value_in_words(kpi.value, kpi.unit, kpi.key), kpi.formula)
        if kpi.unit is not Unit.MINOR or len(kpi.parts) > 1:
            for part in kpi.parts:
                table.add_row(f"  [dim]{part.key}[/]", f"[dim]{value_in_words(part.value, kpi.unit, part.key)}[/]")
    return table


def next_steps(url: str | None, command: str, since: datetime, until: datetime) -> str:
    """What to open next. The KPIs are asked for the replayed period: it lies years back."""
    lines = ["[bold]What to open next[/]"]
    if url is not None:
        lines += [
            f"  {url}/schema       everything that can be asked and told",
            f"  {url}/v1/orders    the orders, newest first",
            f"  {url}/v1/kpis?since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%SZ}    the KPIs of the replay",
        ]
    lines.append(f"  {command}")
    return "\n".join(lines)
