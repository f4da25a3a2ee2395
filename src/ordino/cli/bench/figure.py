"""One measured figure: its rate beside its floor, and what both depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Figure(Struct, frozen=True):
    """``floor`` is the rate of the least work that the figure cannot do without, measured in the same run.

    ``ratio`` is rate / floor. ``p50_ms`` and ``p99_ms`` are latencies as the client saw them; None where there is no client.
    """

    name: str
    rate: float
    unit: str
    floor: float | None
    ratio: float | None
    p50_ms: float | None
    p99_ms: float | None
    conditions: dict[str, Any]


def make(
    name: str,
    rates: Sequence[float],
    unit: str,
    floors: Sequence[float],
    conditions: dict[str, Any],
    *,
    latencies_ms: tuple[float, float] | None = None,
) -> Figure:
    """The medians of the windows; every window's rate is kept in the conditions."""
    rate, floor = median(rates), median(floors) if floors else None
    return Figure(
        name,
        round(rate, 1),
        unit,
        None if floor is None else round(floor, 1),
        None if not floor else round(rate / floor, 3),
        None if latencies_ms is None else round(latencies_ms[0], 2),
        None if latencies_ms is None else round(latencies_ms[1], 2),
        {**conditions, "windows": [round(r, 1) for r in rates], "floor_windows": [round(f, 1) for f in floors]},
    )


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def show(figure: Figure, console: Console, *, json: bool) -> None:
    """One JSON object on one line, or one table."""
    if json:
        console.file.write(msgspec.json.encode(figure).decode() + "\n")
        console.file.flush()
        return
    table = Table(title=f"bench {figure.name}", show_header=False)
    table.add_row("rate", f"{figure.rate:,.0f} {figure.unit}")
    table.add_row("floor", "none" if figure.floor is None else f"{figure.floor:,.0f} {figure.unit}")
    table.add_row("ratio", "" if figure.ratio is None else f"{figure.ratio:.2f}")
    table.add_row("p50, p99", "" if figure.p50_ms is None else f"{figure.p50_ms:.1f} ms, {figure.p99_ms:.1f} ms")
    rows: list[dict[str, Any]] = figure.conditions.get("table", [])
    for key, value in figure.conditions.items():
        if value is rows:
            continue
        table.add_row(key.replace("_", " "), value if isinstance(value, str) else msgspec.json.encode(value).decode())
    console.print(table)
    if rows:
        of_rows = Table(*(key.replace("_", " ") for key in rows[0]))
        for row in rows:
            of_rows.add_row(*map(str, row.values()))
        console.print(of_rows)
