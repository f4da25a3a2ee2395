"""What units are worth: whatever happens to them, in whatever order, all of a line's money ends where its units do."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ordino.orders import value
from ordino.orders.model import LineRow, OrderRow

ID = UUID(int=7)
AT = datetime(2026, 3, 2, tzinfo=UTC)


def line(ordered: int, amount_minor: int) -> LineRow:
    none = dict.fromkeys(LineRow.__struct_fields__, 0)
    return LineRow(
        **{
            **none,
            "order_id": ID,
            "line_no": 1,
            "ordered": ordered,
            "amount_minor": amount_minor,
            "packed": ordered,
            "excluded_location_ids": [],
            "group_code": None,
            "parts_per_unit": 1,
        }
    )


def order(shipping_minor: int, total_minor: int) -> OrderRow:
    return OrderRow(
        order_id=ID,
        channel_id=1,
        external_id="x",
        customer_id=None,
        flow_version=1,
        currency="USD",
        shipping_minor=shipping_minor,
        total_minor=total_minor,
        placed_at=AT,
        promised_at=None,
        status="allocated",
        type="home_delivery",
        service_level=None,
        shipping_charged_minor=0,
        shipping_void_minor=0,
        shipping_refunded_minor=0,
        last_promised_at=None,
        ship_by_at=None,
    )


def came_back(row: LineRow, quantity: int) -> LineRow:
    """Undelivered, to be packed and sent again: nothing moves in money."""
    return structs.replace(row, shipped=row.shipped - quantity, packed=row.packed + quantity)


def returned(row: LineRow, quantity: int) -> tuple[LineRow, int]:
    """Whole units, one part each, with what they are refunded."""
    return value.take_back(row, parts=1, partly=0, coming=quantity, units=quantity)


def delivered(row: LineRow, quantity: int) -> LineRow:
    return structs.replace(row, shipped=row.shipped - quantity, delivered=row.delivered + quantity)


def test_the_last_cent_follows_the_very_units() -> None:
    """3 units for 100 in all: one is cancelled, two ship and come back. What was charged for them is given back."""
    row, gone = value.cancel(line(3, 100), 1)
    row, charged = value.ship(row, 2)
    row = delivered(row, 2)
    row, first = returned(row, 1)
    row, second = returned(row, 1)
    assert (gone.amount_minor, charged.amount_minor) == (33, 67)
    assert first + second == 67


def test_units_that_are_sent_again_are_charged_once() -> None:
    row, first = value.ship(line(3, 100), 2)
    row, again = value.ship(came_back(row, 2), 3)
    assert (first.paid_units, first.amount_minor) == (0, 66)
    assert (again.paid_units, again.amount_minor) == (2, 34)
    row = delivered(row, 3)
    assert returned(row, 3)[1] == 100


def test_cancelled_units_are_first_those_that_are_still_owed() -> None:
    row, _ = value.ship(line(3, 100), 2)
    row, gone = value.cancel(came_back(row, 2), 2)
    assert (gone.paid_units, gone.amount_minor, gone.refund_minor) == (1, 34, 33)
    row, last = value.cancel(row, 1)
    assert (last.paid_units, last.amount_minor, last.refund_minor) == (1, 0, 33)


@given(
    st.integers(1, 30),
    st.integers(0, 10**6),
    st.lists(
        st.tuples(st.sampled_from(("ship", "cancel", "lose", "deliver", "return", "back", "price")), st.integers(1, 9))
    ),
)
def test_in_any_order_of_events_a_line_ends_at_zero(ordered: int, amount: int, script: list[tuple[str, int]]) -> None:
    """MON-6, MON-7, MON-8: after any events, and at last everything cancelled, lost or returned, nothing is owed or kept."""
    row = line(ordered, amount)
    charged = void = refunded = 0
    closing = [("lose", ordered), ("return", ordered), ("cancel", ordered)]
    for act, wanted in [*script, *closing]:
        state = {"ship": "packed", "cancel": "packed", "return": "delivered"}.get(act, "shipped")
        units = min(wanted, getattr(row, state))
        if act == "price":
            part = min(wanted, value.kept_minor(row))
            row, refunded = structs.replace(row, refunded_minor=row.refunded_minor + part), refunded + part
        elif not units:
            continue
        elif act == "deliver":
            row = delivered(row, units)
        elif act == "back":
            row = came_back(row, units)
        elif act == "ship":
            row, worth = value.ship(row, units)
            charged += worth.amount_minor
        elif act == "cancel":
            row, worth = value.cancel(structs.replace(row, packed=row.packed - units), units)
            void, refunded = void + worth.amount_minor, refunded + worth.refund_minor
        elif act == "lose":
            row, worth = value.lose(row, units)
            refunded += worth.refund_minor
        else:
            row, refund = returned(row, units)
            refunded += refund
        assert (row.charged_minor, row.void_minor, row.refunded_minor) == (charged, void, refunded)
        assert 0 <= refunded <= charged <= charged + void <= amount
        assert row.void_units + row.refunded_units == row.cancelled + row.returned
        assert value.kept_units(row) >= row.shipped + row.delivered
    assert (charged + void, refunded) == (amount, charged)


def test_shipping_goes_with_the_last_unit_that_could_reach_the_customer() -> None:
    shipped, move = value.ship_order(order(500, 1500))
    assert move.charged_minor == 500
    assert value.ship_order(shipped)[1].charged_minor == 0
    gone, rest = structs.replace(line(2, 500), cancelled=2, packed=0), line(1, 500)
    assert value.close_order(shipped, [gone, rest])[1].refund_minor == 0
    done, back = value.close_order(shipped, [gone])
    assert (back.refund_minor, back.void_minor) == (500, 0)
    assert value.close_order(done, [gone])[1].refund_minor == 0
    assert value.close_order(order(500, 1500), [gone])[1].void_minor == 500
    returned = structs.replace(gone, cancelled=1, returned=1)
    assert value.close_order(shipped, [returned])[1].refund_minor == 0


def test_a_discount_beyond_lines_and_tax_comes_off_the_shipping() -> None:
    assert order(500, 300).net_shipping_minor == 300
    assert value.ship_order(order(500, 0))[1].charged_minor == 0
