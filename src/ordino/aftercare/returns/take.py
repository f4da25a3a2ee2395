"""Taking units off what a return still expects: they have arrived, or they will not come."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ordino.aftercare.returns.history import ITSELF, History, LineKey, Row


def copied(rows: Sequence[Row]) -> list[Row]:
    """Rows to try on what fits."""
    return [structs.replace(row) for row in rows]


def expected(history: History, rows: Sequence[Row], line: LineKey, component: int) -> int:
    """Units of a line, or of a component of its kits, that may still come with a return of these rows."""
    per_kit = history.per_unit(line).get(component, 0)
    return sum(
        row.outstanding * (1 if row.component_sku_id == component else per_kit)
        for row in rows
        if row.line_no == line[1] and row.component_sku_id in (component, ITSELF)
    )


def take(
    history: History, rows: list[Row], line: LineKey, component: int, quantity: int, *, first: int | None = None
) -> list[tuple[Row, int]]:
    """The rows that ``quantity`` units leave, each with how many; those bound for the location ``first`` come first.

    There must be as many. Components may be authorized as whole kits: as many of these are broken up as it takes, and the other
    components of them are then expected by themselves, at the same location.
    """
    own = _of(rows, line, component, first)
    lacking = quantity - sum(row.outstanding for row in own)
    if lacking > 0 and component != ITSELF:
        per_unit = history.per_unit(line)
        for row in _of(rows, line, ITSELF, first):
            kits = min(row.outstanding, -(-lacking // per_unit[component]))
            _break_up(rows, row, kits, per_unit)
            lacking -= kits * per_unit[component]
            if lacking <= 0:
                break
        own = _of(rows, line, component, first)
    taken = []
    for row in own:
        if units := min(quantity, row.outstanding):
            taken.append((row, units))
            quantity -= units
    assert not quantity, "no more is taken than is expected"
    return taken


def _of(rows: Sequence[Row], line: LineKey, component: int, first: int | None) -> list[Row]:
    found = [
        row for row in rows if row.line_no == line[1] and row.component_sku_id == component and row.outstanding > 0
    ]
    return sorted(found, key=lambda row: (row.location_id != first, row.location_id))


def _break_up(rows: list[Row], kit: Row, kits: int, per_unit: dict[int, int]) -> None:
    kit.authorized -= kits
    there = {
        row.component_sku_id: row
        for row in rows
        if (row.line_no, row.kept_location_id) == (kit.line_no, kit.kept_location_id)
    }
    for component, each in per_unit.items():
        row = there.get(component)
        if row is None:
            row = Row(
                order_id=kit.order_id,
                return_id=kit.return_id,
                line_no=kit.line_no,
                component_sku_id=component,
                kept_location_id=kit.kept_location_id,
                sku_id=kit.sku_id,
                reason=kit.reason,
                authorized=0,
                location_id=kit.location_id,
            )
            rows.append(row)
        row.authorized += kits * each
