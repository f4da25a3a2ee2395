"""Watches in which order transactions take what others may want, too, and tells of everything that is not in ``core/locks.py``'s order.

Every test runs under it: each verb that any test calls is watched, without a race.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from ordino.core.database import Tx
from ordino.core.locks import LADDER
from ordino.core.statements import Statement

LEAVES = frozenset({"shortfall", "kits"})
"""Whoever waits for one of these holds all else that it wants: a shortfall is under its position, and who changes kits takes no stock."""
RUNGS = {rung.name: place for place, rung in enumerate(LADDER)}
Keys = Callable[[dict[str, Any], Sequence[Any]], Iterable[Any]]


def said(*names: str) -> Keys:
    """The keys are what the statement is given."""
    if len(names) == 1:
        return lambda values, _: _listed(values[names[0]])
    return lambda values, _: zip(*(values[name] for name in names), strict=True)


def seen(*names: str) -> Keys:
    """The keys are those of the rows that come back."""
    if len(names) == 1:
        return lambda _, rows: [row[names[0]] for row in rows]
    return lambda _, rows: [tuple(row[name] for name in names) for row in rows]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]


def only(_: dict[str, Any], rows: Sequence[Any]) -> list[str]:
    return [""]


position = ("sku_id", "location_id")
positions = ("sku_ids", "location_ids")
days = ("location_ids", "ship_ons")
TAKES: dict[str, tuple[str, Keys]] = {
    "claim_key": ("request", said("key")),
    "begin_feed": ("feed", said("feed")),
    "claim_set": ("feed", said("feed")),
    "hold_duty": ("duty", said("name")),
    "hold_log": ("log", only),
    "hold_subscription": ("subscription", said("name")),
    "lock_transfers": ("document", seen("transfer_id")),
    "lock_sheet": ("document", seen("sheet_id")),
    "share_counting": ("counting", only),
    "hold_counting": ("counting", only),
    "lock_orders": ("order", seen("order_id")),
    "claim_carts": ("cart", seen("channel_id", "cart")),
    "lock_holds": ("hold", seen("hold_id")),
    "claim_customers": ("customer", said("seller_ids", "external_ids")),
    "claim_keys": ("order key", said("channel_ids", "external_ids")),
    "claim_numbers": ("tracking number", said("tracking_numbers")),
    "hold_numbers": ("tracking number", said("tracking_numbers")),
    "close_numbers": ("tracking number", said("tracking_numbers")),
    "lock_capacity": ("day", seen("location_id", "ship_on")),
    "move_capacity": ("day", said(*days)),
    "lock_positions": ("position", seen(*position)),
    "lock_some": ("position", seen(*position)),
    "lock_detailed": ("position", seen(*position)),
    "move_stock": ("position", said(*positions)),
    "know_lots": ("lot", said("sku_ids", "lots")),
    "lock_serials": ("serial number", seen("sku_id", "serial")),
    "open_shortfalls": ("shortfall", only),
    "lock_shortfall": ("shortfall", only),
    "advance_job": ("job", said("job_id")),
    "keep_step": ("job", said("job_id")),
    "end_job": ("job", said("job_id")),
    "cancel_jobs_of_key": ("job", seen("job_id")),
    "lock_waiting": ("waiting", only),
    "more_waiting": ("waiting", only),
    "fewer_waiting": ("waiting", only),
    "free_for_waiting": ("waiting", only),
    "mark_offered": ("waiting", only),
}
"""Statement -> the rung that it takes, and the keys there."""

BEGINS: dict[str, tuple[str, Keys]] = {
    "open_capacity": ("day", said(*days)),
    "open_positions": ("position", said(*positions)),
    "know_serials": ("serial number", said("sku_ids", "serials")),
}
"""Statements that make rows of a rung begin: a transaction that makes one begin holds it, before any row that is there already."""

UNDER: dict[str, str] = dict.fromkeys(
    (
        "move_units", "give_back", "count_parts", "take_allocations", "release_allocations", "keep_allocations", "stop_keeping",
        "exclude_locations", "count_tries", "want_stops", "move_money", "take_over", "forget_tokens", "include_locations", "claim_capacity", "confirm_claims",
        "drop_claims", "reduce_claims", "add_allocations", "tell_orders", "clear_exceptions", "move_lines", "write_shipments", "unpack",
        "write_parcels", "change_parcels", "mark_late", "tell_parcels", "write_return_lines", "mark_received", "write_refunds",
        "count_parcel_units", "open_parcel_exceptions", "open_work_exceptions", "open_exceptions",
    ),
    "order",
) | {"end_holds": "hold", "write_hold_lines": "hold", "clear_hold_lines": "hold"}  # fmt: skip
"""Statement -> the rung under whose locks it changes rows: its orders or holds are held, or new."""

MAKES: dict[str, tuple[str, Keys]] = {
    "write_orders": ("order", said("order_ids")),
    "write_holds": ("hold", said("hold_ids")),
    "expired_holds": ("hold", seen("hold_id")),
}
"""Statements after which rows of a rung are the transaction's own, though it has waited for nobody: new ones, and those that nobody
else had."""


class _Held:
    """What one transaction has taken."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx  # alive, so that no other has its id
        self.keys: dict[tuple[int, int], set[Any]] = {}  # (rung, begun 0 or taken 1) -> keys
        self.told: list[str] = []

    def take(self, statement: str, name: str, keys: Iterable[Any], *, begins: bool = False) -> str | None:
        rung = (RUNGS[name], 0 if begins else 1)
        known = self.keys.get(rung, set()) | self.keys.get((-1, RUNGS[name]), set())
        if begins:
            known |= self.keys.get((RUNGS[name], 1), set())
        new = set(keys) - known
        if not new:
            return None
        wrong = None
        further = [
            place for place, some in self.keys.items() if some and place > rung and LADDER[place[0]].name not in LEAVES
        ]
        if further:
            wrong = f"{statement} takes {name} {min(new)} after {', '.join(LADDER[place[0]].name for place in further)}"
        elif (there := self.keys.get(rung)) and max(there) > min(new):
            wrong = f"{statement} takes {name} {min(new)} after {name} {max(there)}"
        self.keys.setdefault(rung, set()).update(new)
        self.told.append(f"{statement} {name} {len(new)}")
        return None if wrong is None else f"{wrong}; before: {'; '.join(self.told)}"

    def holds(self, name: str) -> set[Any]:
        return self.keys.get((RUNGS[name], 1), set()) | self.keys.get((-1, RUNGS[name]), set())


@contextmanager
def watched() -> Iterator[list[str]]:
    """What is wrong, as sentences; empty if nothing is."""
    wrong: list[str] = []
    transactions: dict[int, _Held] = {}
    call = Statement.__call__

    async def watching(self: Statement, connection: Any, **values: Any) -> list[Any]:
        if not isinstance(connection, Tx) or not connection.connection.is_in_transaction():
            return await call(self, connection, **values)
        held = transactions.get(id(connection))
        if held is None:
            held = transactions[id(connection)] = _Held(connection)
        under = UNDER.get(self.name, "")
        if f"{under}_ids" in values and (missing := set(values[f"{under}_ids"]) - held.holds(under)):
            wrong.append(f"{self.name} changes rows of {under}s that are not held: {sorted(missing)}")
        if self.name in BEGINS and (
            sentence := held.take(self.name, BEGINS[self.name][0], BEGINS[self.name][1](values, ()), begins=True)
        ):
            wrong.append(sentence)
        if self.name in SORTED and (given := list(said(*SORTED[self.name])(values, ()))) != sorted(given):
            wrong.append(f"{self.name} takes its rows in no order: {given}")
        rows = await call(self, connection, **values)
        if self.name in MAKES:
            name, own = MAKES[self.name]
            held.keys.setdefault((-1, RUNGS[name]), set()).update(own(values, rows))
        if self.name == "open_shortfalls" and (missing := set(seen(*position)(values, rows)) - held.holds("position")):
            wrong.append(f"open_shortfalls takes shortfalls of positions that are not held: {sorted(missing)}")
        name, keys = TAKES.get(self.name, (None, only))
        if self.name in ("share_revision", "hold_revision"):
            name = values["name"] if values["name"] in RUNGS else None
        if name is not None and (sentence := held.take(self.name, name, keys(values, rows))):
            wrong.append(sentence)
        return rows

    with patch.object(Statement, "__call__", watching):
        yield wrong


ALONE: dict[str, str] = {
    "hold_due": "passes over what others have",
    "hold_one": "passes over what others have",
    "lease_due": "passes over what others have",
    "renew_leases": "passes over what others have",
    "write_accounts": "passes over what others have",
    "expired_holds": "passes over what others have",
    "lease_duty": "passes over what others have",
    "set_intervals": "passes over what others have",
    "lease_job": "passes over what others have",
    "forget_job_rows": "of a job that is over: nobody else changes them, and one worker at a time forgets",
    "hold_revision": "by its name, where it has a place; else whoever changes such facts takes nothing that is in the order",
    "share_revision": "by its name, where it has a place",
    "hold_flows": "whoever changes flows takes nothing else",
    "hold_skus": "whoever changes SKUs and kits takes nothing that is in the order",
    "hold_written": "whoever changes SKUs and kits takes nothing that is in the order",
    "take_incoming": "under its position",
    "move_serials": "those that several moves name are held by lock_serials, others are their order's",
    "free_expired": "passes over what others have",
    "replay": "whoever tries dead letters again takes nothing else; a worker passes them over",
    "try_accounts": "whoever holds accounts waits for nothing else: leases pass over what others have",
    "unpause_accounts": "after the calls that are settled, which nobody waits for",
    "end_pauses": "takes nothing else",
    "leave_untried": "after the calls that are settled; of an account that only this call was to try",
    "unlease": "passes over what others have",
    "ask_for_duty": "last before the commit; whoever has the row at that moment waits for nothing else",
    "forget_answers": "passes over what others have",
    "forget_unmatched": "passes over what others have",
    "share_api_key": "last in its transaction, which holds nothing that others want: its job is new",
    "take_unmatched": "after the orders of the parcel; who keeps an event of the number waits only for that",
}
"""Statements that lock and have no place in the order, and why nobody waits in a circle for them."""

ONE = frozenset(
    {
        "claim_key", "keep_answer", "revoke_api_key", "note_use", "bump_revision", "set_revision",
        "take_numbers", "pause_account", "resume_account", "try_to_write", "write_closure", "drop_closure", "drop_pickup", "drop_capacity_day",
        "lease_duty", "renew_duty", "end_duty", "fail_duty", "let_go_duty", "count_job_rows", "renew_job", "advance_job", "keep_step", "end_job", "let_go_job", "cancel_job", "revoke_job",
        "begin_to_forget", "forget_job",
        "write_rule", "drop_rule", "begin_feed", "claim_set", "keep_set", "end_feed", "write_plan", "move_line",
        "recover_shortfall", "erase_shortfall_note", "write_bin", "forget_tries", "resolve_exception", "move_head", "make_subscription", "say_kinds",
        "move_subscription", "drop_subscription",
    }
)  # fmt: skip
"""Statements that change one row of a kind."""

TURNS: dict[str, str] = (
    dict.fromkeys(
        (
            "write_sellers", "write_channels", "write_locations", "write_networks", "clear_members", "clear_channel_networks",
            "write_carrier_services", "clear_lanes", "clear_rates", "clear_zones", "write_postal_codes", "write_pickups",
            "write_capacity_days", "write_exchange_rates", "forget_reopened",
        ),
        "whoever changes the network takes turns (hold_revision)",
    )
    | dict.fromkeys(("retire_profile", "activate_profile", "shadow_profile"), "whoever changes profiles takes turns")
    | dict.fromkeys(("deactivate_flow", "activate_flow"), "whoever changes flows takes turns (hold_flows)")
    | dict.fromkeys(("clear_kits", "know_kits"), "the SKUs are held (hold_skus)")
    | dict.fromkeys(
        ("take_touched", "touch_retired", "publish_changes", "publish", "forget_counted", "forget_idle_tokens", "forget_answers"),
        "a duty: one worker at a time",
    )
    | dict.fromkeys(("adopt_events", "position_sets"), "whoever gives positions holds the log (hold_log)")
    | dict.fromkeys(("settle_job_rows", "forget_inputs"), "the job is leased, or over before it began: one transaction at a time")
    | dict.fromkeys(("finish", "finish_leased", "postpone", "mark_sent", "take_unjudged"), "whoever took the reactions has them for itself")
    | dict.fromkeys(
        ("move_detail", "record_detail_moves", "move_unavailable", "let_in_unavailable", "recount_shortfalls", "resolve_shortfalls"),
        "the positions are held",
    )
    | dict.fromkeys(("hold_units", "let_go_units", "extend_reservations"), "the orders or holds are held, or new")
    | dict.fromkeys(("write_holds", "point_carts", "forget_carts", "clear_kit_lines"), "the carts and holds are held, or new")
    | dict.fromkeys(("move_transfers", "expect_transfers"), "the transfers are held")
    | dict.fromkeys(("promise", "close_found", "erase_notes", "record_events", "ask", "answer"), "the orders are held")
    | {
        "claim_sku_codes": "whoever makes SKUs has taken their keys first, one after another (take_numbers)",
        "claim_keys": "what is given is sorted, and inserted as it is given; a sort would be made for every order",
        "forget_keys": "this transaction has made them",
        "forget_customers": "this transaction has made them",
        "write_messages": "of facts whose reaction is held",
    }
)  # fmt: skip
"""Statements that change many rows in no order, and why no other transaction wants them in another."""
SORTED = {"claim_keys": ("channel_ids", "external_ids")}
"""Statements that take rows as they are given: by these, which are sorted."""
