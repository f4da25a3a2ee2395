"""``ordino verify``: every balance recomputed from its moves, every promise held against the rows.

All checks read one snapshot, so that the answer is right while orders are being placed. They run side by side over a
few connections; each is one set-based statement of ``verify.sql``.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.resources import files
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ordino.core.database import Database
from ordino.core.statements import Statement, Statements

_TEXT = files("ordino.cli").joinpath("verify.sql").read_text(encoding="utf-8")
_HEAD = re.compile(r"^-- name: (\w+)\n-- ([A-Z]+-\d+(?:, [A-Z]+-\d+)*): (.+)$", re.MULTILINE)
SETTINGS = """
    SET LOCAL work_mem = '256MB';
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_nestloop = off;  -- whole tables are joined, whatever the planner believes of their sizes
    SET LOCAL max_parallel_workers_per_gather = 0;  -- the connections are the parallel part
"""
WAITING = """
    SELECT count(*) AS sets, min(recorded_at) AS since FROM core.event_sets CROSS JOIN core.log_head
    WHERE position IS NULL AND recorded_at < clock_timestamp() - interval '1 minute'
      AND (drained_at IS NULL OR recorded_at >= drained_at - interval '1 minute')
"""
"""Sets of events for which nobody has given positions yet. That breaks nothing: a worker will."""
LONGEST_SECONDS = 24 * 3600.0
"""A check of a large database takes long, and is not cut: it ends by itself or with its command."""
Reader = Any  # asyncpg.Connection, or what a pool lends of it
CONNECTIONS = max(2, min(4, os.cpu_count() or 2))
SLOWEST_FIRST = (
    "lines_are_the_sums_of_their_moves",
    "payments_follow_from_lines_and_shipping",
    "the_money_of_lines_is_the_sum_of_its_moves",
    "payments_are_the_sums_of_their_moves",
    "packages_hold_what_was_packed",
    "what_left_the_stock_is_what_shipped",
    "the_warehouse_agrees_with_demand",
    "orders_are_the_sums_of_their_lines",
)


class Check(Struct, frozen=True):
    """One promise, and the statement that returns the rows that break it."""

    name: str
    promise: str
    sentence: str
    statement: Statement


class Finding(Struct, frozen=True):
    """What one check found. ``count`` rows disagree; ``rows`` shows the first of them. ``error``: it could not be computed."""

    name: str
    promise: str
    sentence: str
    seconds: float
    count: int
    rows: list[dict[str, Any]]
    error: str | None = None

    @property
    def holds(self) -> bool:
        return not self.count and self.error is None


class Report(Struct, frozen=True):
    """All findings, in the order of ``verify.sql``; ``clean`` when every one of them holds. ``notices`` say what breaks no promise
    and should be known.
    """

    clean: bool
    orders: int
    seconds: float
    findings: list[Finding]
    notices: list[str] = []

    @property
    def broken(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.holds]


def _checks() -> tuple[Check, ...]:
    heads = {name: (promise, sentence) for name, promise, sentence in _HEAD.findall(_TEXT)}
    return tuple(Check(s.name, *heads[s.name], s) for s in Statements(_TEXT))


CHECKS = _checks()


async def verify(database: Database, *, rows: int = 20, connections: int = CONNECTIONS) -> Report:
    """Run every check on one snapshot; up to ``rows`` disagreeing rows of each are named."""
    started = time.perf_counter()
    waiting = deque(sorted(CHECKS, key=lambda check: check.name not in SLOWEST_FIRST))
    findings: dict[str, Finding] = {}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(database.pool.acquire())
        await stack.enter_async_context(first.transaction(isolation="repeatable_read", readonly=True))
        await first.execute(SETTINGS)
        snapshot = await first.fetchval("SELECT pg_export_snapshot()")
        readers = [first]
        for _ in range(min(connections, database.pool.get_max_size()) - 1):
            reader = await stack.enter_async_context(database.pool.acquire())
            await stack.enter_async_context(reader.transaction(isolation="repeatable_read", readonly=True))
            await reader.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            await reader.execute(SETTINGS)
            readers.append(reader)
        orders = await first.fetchval("SELECT count(*) FROM orders.orders", timeout=LONGEST_SECONDS)
        waiting_sets = await first.fetchrow(WAITING, timeout=LONGEST_SECONDS)
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(_work(reader, waiting, findings, rows))
    told = [findings[check.name] for check in CHECKS]
    clean = all(finding.holds for finding in told)
    return Report(clean, orders, time.perf_counter() - started, told, _notices(waiting_sets))


def _notices(waiting: Any) -> list[str]:
    if not waiting["sets"]:
        return []
    return [
        f"Whoever follows the event log waits for a worker: {waiting['sets']:,} sets of events have no place in it yet, the oldest "
        f"since {waiting['since']:%Y-%m-%d %H:%M} UTC. Start `ordino work`."
    ]


async def examine(reader: Reader, *, rows: int = 20) -> list[Finding]:
    """Every check on one connection, as its open transaction sees the rows."""
    return [await _run(reader, check, rows) for check in CHECKS]


async def _work(reader: Reader, waiting: deque[Check], findings: dict[str, Finding], rows: int) -> None:
    while waiting:
        check = waiting.popleft()
        findings[check.name] = await _run(reader, check, rows)


async def _run(reader: Reader, check: Check, rows: int) -> Finding:
    query = (
        f"WITH disagreeing AS MATERIALIZED ({check.statement.text}) "
        "SELECT to_json(d)::text AS row, (SELECT count(*) FROM disagreeing) AS count FROM disagreeing d LIMIT $1"
    )
    started = time.perf_counter()
    error = None
    found: Sequence[Any] = ()
    try:
        async with reader.transaction():
            found = await reader.fetch(query, rows, timeout=LONGEST_SECONDS)
    except asyncpg.DataError as problem:  # a number that no verb could have written
        error = str(problem)
    return Finding(
        check.name,
        check.promise,
        check.sentence,
        time.perf_counter() - started,
        found[0]["count"] if found else 0,
        [_told(msgspec.json.decode(row["row"])) for row in found],
        error,
    )


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """The row; of counts side by side only those that differ."""
    found, expected = row.get("found"), row.get("expected")
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return row
    differing = [name for name in found if found[name] != expected[name]]
    return {
        **row,
        "found": {name: found[name] for name in differing},
        "expected": {name: expected[name] for name in differing},
    }


def render(report: Report, console: Console) -> None:
    """A table of the promises, then every row that breaks one."""
    table = Table(title=f"verify: {report.orders:,} orders in {report.seconds:.1f} s")
    for column in ("promise", "says", "rows that disagree", "seconds"):
        table.add_column(column, justify="right" if column in ("rows that disagree", "seconds") else "left")
    for finding in report.findings:
        told = "error" if finding.error else f"{finding.count:,}"
        verdict = "[green]0[/]" if finding.holds else f"[bold red]{told}[/]"
        table.add_row(finding.promise, escape(finding.sentence), verdict, f"{finding.seconds:.2f}")
    console.print(table)
    for finding in report.broken:
        console.print(f"[bold red]{finding.promise}[/] {escape(finding.sentence)}", highlight=False)
        if finding.error:
            console.print(f"  could not be computed: {escape(finding.error)}", highlight=False)
        for row in finding.rows:
            console.print(
                "  " + escape("  ".join(f"{key}={_words(value)}" for key, value in row.items())), highlight=False
            )
        if finding.count > len(finding.rows):
            console.print(f"  … and {finding.count - len(finding.rows):,} more", highlight=False)
    for notice in report.notices:
        console.print(escape(notice), highlight=False, soft_wrap=True)
    console.print(
        "[green]Every promise holds.[/]" if report.clean else f"[bold red]{len(report.broken)} checks failed.[/]"
    )


def _words(value: Any) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
