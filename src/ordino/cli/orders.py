"""``ordino orders``: money that goes back, goods and parcels that come back, and dates that customers are told."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from cyclopts import App, Parameter
from rich.console import ConsoleRenderable, Group
from rich.table import Table
from rich.text import Text

from ordino.cli.terminal import Json, Key, Verb, apply_file, change, console, instant, on_database, sent, show, units
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid
from ordino.core.money import amount
from ordino.web.problems import as_error

orders_app = App(name="orders", help="Refunds, returns and parcels of orders, and the dates that customers are told.")

Ok = TypeVar("Ok")
Where = Annotated[str | None, Parameter(help="The location where the units arrived; by default where they were to go.")]
WithComponent = "LINE=UNITS, such as 1=2; LINE:COMPONENT=UNITS for single components of a kit."
Numbers = "LINE=SERIAL, such as 1=SN-7, once for each unit of a SKU with serial numbers."


def number_of(text: str, form: str) -> tuple[int, str]:
    """The line number and the rest of ``LINE=rest``. Raises ``Invalid``."""
    line_no, sign, rest = text.partition("=")
    if not (sign and rest and line_no.isascii() and line_no.isdigit()):
        raise Invalid(f"{text!r} is not clear; write {form}.")
    return int(line_no), rest


def units_of(text: str) -> dict[str, Any]:
    """A line of ``LINE=UNITS`` or ``LINE:COMPONENT=UNITS``. Raises ``Invalid``."""
    which, _, units = text.rpartition("=")
    line_no, colon, component = which.partition(":")
    clear = all(part.isascii() and part.isdigit() for part in (line_no, units)) and bool(component) is bool(colon)
    if not clear:
        raise Invalid(f"{text!r} is not clear; write LINE=UNITS, such as 1=2, or LINE:COMPONENT=UNITS.")
    return {"line_no": int(line_no), "quantity": int(units), **({"component": component} if colon else {})}


def gathered(counts: dict[str, Sequence[str]], serials: dict[str, Sequence[str]]) -> list[dict[str, Any]]:
    """What is said of units, gathered by line and component: ``counts`` and ``serials`` have the words by the API's field."""
    lines: dict[tuple[int, str | None], dict[str, Any]] = {}
    for field, words in counts.items():
        for word in words:
            said = units_of(word)
            key = said["line_no"], said.get("component")
            line = lines.setdefault(key, {name: said[name] for name in ("line_no", "component") if name in said})
            line[field] = line.get(field, 0) + said["quantity"]
    for field, words in serials.items():
        for word in words:
            line_no, serial = number_of(word, "LINE=SERIAL")
            named = [line for (number, _), line in lines.items() if number == line_no]
            if len(named) != 1:
                raise Invalid(f"Line {line_no} of {word!r} must be said once; use `ordino orders apply` for more.")
            named[0].setdefault(field, []).append(serial)
    return list(lines.values())


def done(command: str, item: Any, verb: Verb, expected: type[Ok], *, key: str | None) -> tuple[Ok, str]:
    """The outcome of one item and its order's currency; or its refusal, raised as the API raises it."""
    from ordino.orders.ledger import orders

    async def run(tx: Tx, at: datetime) -> tuple[Ok, str]:
        [outcome] = await verb(tx, [item], at=at)
        if not isinstance(outcome, expected):
            raise as_error(outcome)
        return outcome, (await orders(tx, [item.order_id]))[item.order_id].currency

    return change(f"orders {command}", item, run, tuple[expected, str], key=key)  # type: ignore[valid-type]


def told(found: Any, sentence: str, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def read_order(order_id: UUID, read: Callable[[Any, UUID], Awaitable[Ok]]) -> tuple[Ok, str]:
    """What is asked of an order, and the order's currency. Raises ``NotFound``."""
    from ordino.orders.ledger import orders

    async def run(database: Database) -> tuple[Ok, str]:
        async def both(tx: Any) -> tuple[Ok, str]:
            found = await read(tx, order_id)
            return found, (await orders(tx, [order_id]))[order_id].currency

        return await database.read(both)

    return on_database(run)


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


# -- refunds ---------------------------------------------------------------------------------------------------------------


@orders_app.command
def refund(
    order_id: UUID,
    *,
    reason: Annotated[str, Parameter(help="A code of your own, such as late.")],
    line: Annotated[
        list[str] | None,
        Parameter(help="LINE=AMOUNT, such as 1=200: part of a line's price, in minor units.", negative=""),
    ] = None,
    shipping: Annotated[int | None, Parameter(help="Part of the shipping, in minor units.")] = None,
    all_shipping: Annotated[bool, Parameter(help="All that is left of the shipping.", negative="")] = False,
    goodwill: Annotated[int | None, Parameter(help="An amount for nothing in particular, in minor units.")] = None,
    note: Annotated[str | None, Parameter(help="A sentence for the file.")] = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Refund shipping, part of a price, or goodwill, though no units come back."""
    from ordino.aftercare.model import NewRefund, RefundRequested
    from ordino.aftercare.refunds import refund as refunded

    lines = []
    for text in line or ():
        line_no, minor = number_of(text, "LINE=AMOUNT")
        if not (minor.isascii() and minor.isdigit()):
            raise Invalid(f"{text!r} is not clear; write LINE=AMOUNT in minor units, such as 1=200.")
        lines.append({"line_no": line_no, "amount_minor": int(minor)})
    body = {"order_id": order_id, "reason": reason, "note": note, "lines": lines or None}
    body |= {"shipping_minor": shipping, "all_shipping": all_shipping, "goodwill_minor": goodwill}
    found, currency = done("refund", sent(body, NewRefund), refunded, RefundRequested, key=key)
    back, left = (amount(minor, currency) for minor in (found.amount_minor, found.left_minor))
    told(found, f"Refund {found.refund_id}: {back} will be refunded. {left} of the order are left.", json=json)


@orders_app.command
def refunds(order_id: UUID, *, json: Json = False) -> None:
    """The refunds of an order that were made without goods, oldest first."""
    from ordino.aftercare.refunds import refunds_of

    found, currency = read_order(order_id, refunds_of)

    def blocks() -> Group:
        parts = []
        for one in found:
            when = f"refunded {_day(one.refunded_at)}" if one.refunded_at else "not refunded yet"
            sums = f"{amount(one.amount_minor, currency)}, {amount(one.shipping_minor, currency)} of it shipping"
            note = f"\n  {one.note}" if one.note else ""
            asked = f"asked {_day(one.asked_at)} by {one.asked_by or 'nobody known'}"
            parts.append(Text(f"{one.refund_id}\n  {sums}; reason {one.reason}; {asked}; {when}{note}"))
        return Group(*parts) if parts else Group("No refunds without goods.")

    show(found, blocks, json=json)


# -- notes -----------------------------------------------------------------------------------------------------------------


@orders_app.command
def notes(order_id: UUID, *, json: Json = False) -> None:
    """What people have written about an order in words of their own, oldest first."""
    from ordino.orders.notes import notes_of

    found, _ = read_order(order_id, notes_of)

    def blocks() -> Group:
        parts = [
            Text(f"{one.about}, {_day(one.written_at)} by {one.written_by or 'nobody known'}\n  {one.text}")
            for one in found
        ]
        return Group(*parts) if parts else Group("No notes.")

    show(found, blocks, json=json)


@orders_app.command
def erase_notes(order_id: UUID, *, key: Key = None, json: Json = False) -> None:
    """Erase what people have written about an order, for good. Its events, units and money stay as they are."""
    from ordino.orders.notes import Erased, erase

    found = change("orders erase-notes", [order_id], lambda tx, at: erase(tx, order_id, at=at), Erased, key=key)
    told(found, f"Erased: {found.notes} {'note' if found.notes == 1 else 'notes'}.", json=json)


# -- returns ---------------------------------------------------------------------------------------------------------------


@orders_app.command(name="return")
def authorize_return(
    order_id: UUID,
    lines: Annotated[list[str], Parameter(help=WithComponent)],
    *,
    reason: Annotated[str, Parameter(help="Why they come back: a code of your own, such as changed_mind.")],
    location: Annotated[
        str | None, Parameter(help="Where all of it goes; by default where each line was shipped from.")
    ] = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Authorize a return: these delivered units may come back."""
    from ordino.aftercare.model import Authorized, NewReturn
    from ordino.aftercare.returns import authorize

    wanted = [{**units_of(text), "reason": reason} for text in lines]
    body = {"order_id": order_id, "lines": wanted, "location": location}
    found, _ = done("return", sent(body, NewReturn), authorize, Authorized, key=key)
    places = ", ".join(
        f"{units(part.quantity)} of line {part.line_no}"
        + (f" ({part.component})" if part.component else "")
        + f" to {part.location}"
        for part in found.lines
    )
    told(found, f"Return {found.return_id} is authorized: {places}.", json=json)


@orders_app.command
def receive_return(
    order_id: UUID,
    return_id: UUID,
    *,
    restocked: Annotated[
        list[str] | None, Parameter(help=f"Units on the shelf again. {WithComponent}", negative="")
    ] = None,
    scrapped: Annotated[
        list[str] | None, Parameter(help=f"Units that are scrapped. {WithComponent}", negative="")
    ] = None,
    serial: Annotated[list[str] | None, Parameter(help=f"Of restocked units: {Numbers}", negative="")] = None,
    scrapped_serial: Annotated[list[str] | None, Parameter(help=f"Of scrapped units: {Numbers}", negative="")] = None,
    location: Where = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Receive units of a return; the refund follows."""
    from ordino.aftercare.model import Received, ReturnReceipt
    from ordino.aftercare.returns import receive

    lines = gathered(
        {"restocked": restocked or (), "scrapped": scrapped or ()},
        {"serials": serial or (), "scrapped_serials": scrapped_serial or ()},
    )
    if not lines:
        raise Invalid("Say what became of the units: `--restocked LINE=UNITS`, `--scrapped LINE=UNITS`, or both.")
    body = {"order_id": order_id, "return_id": return_id, "lines": lines, "location": location}
    found, currency = done("receive-return", sent(body, ReturnReceipt), receive, Received, key=key)
    money = f"{amount(found.refund_minor, currency)} will be refunded."
    told(found, f"Restocked: {found.restocked}; scrapped: {found.scrapped}. {money}", json=json)


@orders_app.command
def cancel_return(
    order_id: UUID,
    return_id: UUID,
    lines: Annotated[list[str] | None, Parameter(help=WithComponent)] = None,
    *,
    all: Annotated[bool, Parameter(help="Everything that is still to come.", negative="")] = False,
    reason: Annotated[str | None, Parameter(help="A code of your own, such as changed_mind.")] = None,
    note: Annotated[
        str | None, Parameter(help="A sentence for the file; `ordino orders erase-notes` erases it.")
    ] = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Cancel units of a return that will not come back after all."""
    from ordino.aftercare.model import ReturnCancellation, ReturnCancelled
    from ordino.aftercare.returns import cancel

    named = [units_of(text) for text in lines or ()]
    body = {"order_id": order_id, "return_id": return_id, "lines": named or None, "all": all}
    wish = sent(body | {"reason": reason, "note": note}, ReturnCancellation)
    found, _ = done("cancel-return", wish, cancel, ReturnCancelled, key=key)
    many = sum(part.quantity for part in found.cancelled)
    told(found, f"Cancelled: {units(many)}. You can authorize a return of them again.", json=json)


@orders_app.command
def returns(order_id: UUID, *, json: Json = False) -> None:
    """An order's returns: what was authorized, where it goes, and what became of it."""
    from ordino.aftercare.returns import returns_of

    found, currency = read_order(order_id, returns_of)

    def tables() -> Group:
        parts: list[ConsoleRenderable] = []
        for one in found.returns:
            table = Table("line", "SKU", "to", "reason", "authorized", "restocked", "scrapped", "cancelled", "refund")
            for line in one.lines:
                counts = (str(n) for n in (line.authorized, line.restocked, line.scrapped, line.cancelled))
                about = (str(line.line_no), line.component or line.sku, line.location, line.reason)
                table.add_row(*about, *counts, amount(line.refund_minor, currency))
            parts += [Text(str(one.return_id)), table]
        return Group(*parts) if parts else Group("No returns.")

    show(found, tables, json=json)


# -- parcels and dates -----------------------------------------------------------------------------------------------------


@orders_app.command
def parcels(order_id: UUID, *, json: Json = False) -> None:
    """An order's parcels, with the dates that were told of them. `--json` has all that their carriers said."""
    from ordino.tracking.read import parcels as parcels_of

    found, _ = read_order(order_id, parcels_of)

    def blocks() -> Group:
        parts = []
        for one in found:
            carrier = " ".join(filter(None, (one.carrier, one.service)))
            head = (
                f"{one.shipment_id}\n  {one.tracking_number} ({carrier}): {one.status}, shipped {_day(one.shipped_at)}"
            )
            told = f"told first {_day(one.promised_at)}, told last {_day(one.last_promised_at)}"
            dates = f"planned {_day(one.planned_at)}, expected {_day(one.expected_at)}"
            parts.append(Text(f"{head}\n  {told}, {dates} (UTC)"))
        return Group(*parts) if parts else Group("No parcels.")

    show(found, blocks, json=json)


@orders_app.command
def receive_parcel(
    order_id: UUID,
    shipment_id: UUID,
    *,
    all: Annotated[bool, Parameter(help="Restock everything that is still in it.", negative="")] = False,
    restocked: Annotated[list[str] | None, Parameter(help="Units on the shelf again: LINE=UNITS.", negative="")] = None,
    scrapped: Annotated[list[str] | None, Parameter(help="Units that are scrapped: LINE=UNITS.", negative="")] = None,
    lost: Annotated[
        list[str] | None, Parameter(help="Units that are missing in the parcel: LINE=UNITS.", negative="")
    ] = None,
    serial: Annotated[list[str] | None, Parameter(help=f"Of restocked units: {Numbers}", negative="")] = None,
    scrapped_serial: Annotated[list[str] | None, Parameter(help=f"Of scrapped units: {Numbers}", negative="")] = None,
    then: Annotated[Literal["refund", "send_again"] | None, Parameter(help="What follows for the customer.")] = None,
    location: Where = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Receive a parcel that came back to the sender, whole or in part."""
    from ordino.aftercare.received_back.model import ParcelReceipt, ReceivedBack
    from ordino.aftercare.received_back.receive import receive_back

    lines = gathered(
        {"restocked": restocked or (), "scrapped": scrapped or (), "lost": lost or ()},
        {"serials": serial or (), "scrapped_serials": scrapped_serial or ()},
    )
    body = {"order_id": order_id, "shipment_id": shipment_id, "lines": lines or None, "all": all}
    said = sent({**body, "then": then, "location": location}, ParcelReceipt)
    found, currency = done("receive-parcel", said, receive_back, ReceivedBack, key=key)
    counts = (
        f"Restocked: {found.restocked}; scrapped: {found.scrapped}; missing: {found.lost}; still to come: {found.left}."
    )
    money = f"{amount(found.refund_minor, currency)} will be refunded; {units(found.sent_again)} will be sent again."
    told(found, f"{counts} {money}", json=json)


@orders_app.command
def tell_date(
    order_id: UUID,
    date: Annotated[str, Parameter(help="When it is to arrive, such as 2026-12-09T22:00:00Z.")],
    *,
    parcel: Annotated[UUID | None, Parameter(help="Only of this parcel, by its shipment's id.")] = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Record a date that you have told the customer. No message is written."""
    from ordino.tracking.model import DateTold, NewDate
    from ordino.tracking.tell import tell

    body = {"order_id": order_id, "promised_at": instant(date), "shipment_id": parcel}
    found, _ = done("tell-date", sent(body, NewDate), tell, DateTold, key=key)
    first, last = (_day(at) or "none" for at in (found.promised_at, found.last_promised_at))
    told(found, f"Told first: {first}; told last: {last} (UTC).", json=json)


@orders_app.command
def apply(
    noun: Annotated[str, Parameter(help="What the file holds: refunds, returns, … (`list` names all).")],
    path: Annotated[
        Path | None, Parameter(help="JSON as the API takes it; without it, the standard input is read.")
    ] = None,
    *,
    key: Key = None,
) -> None:
    """Do what the API does with the same body: one item or a list. Ends with 1 if something was refused."""
    from ordino.aftercare import model, refunds, returns
    from ordino.aftercare.received_back.model import ParcelReceipt
    from ordino.aftercare.received_back.receive import receive_back
    from ordino.tracking.model import NewDate, TrackingEvent
    from ordino.tracking.take_events import take_events
    from ordino.tracking.tell import tell

    known: dict[str, tuple[type[Any], Verb]] = {
        "refunds": (model.NewRefund, refunds.refund),
        "returns": (model.NewReturn, returns.authorize),
        "return_receipts": (model.ReturnReceipt, returns.receive),
        "return_cancellations": (model.ReturnCancellation, returns.cancel),
        "parcel_receipts": (ParcelReceipt, receive_back),
        "told_dates": (NewDate, tell),
        "tracking_events": (TrackingEvent, take_events),
    }
    apply_file("orders", noun, path, known, key=key)
