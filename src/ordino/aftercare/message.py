"""Messages: a fact becomes words for the customer, and the words wait in the outbox until they are sent.

A template is a text file: its first line is the subject, the rest after an empty line is the body.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from unicodedata import category
from uuid import UUID
from zoneinfo import ZoneInfo

from jinja2 import PackageLoader, StrictUndefined, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from ordino.aftercare import send
from ordino.aftercare.model import QUESTIONS, Message, Template
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Due, enqueue
from ordino.core.money import amount
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, facts
from ordino.tracking.model import NewDate
from ordino.tracking.tell import tell

sql = statements("ordino.aftercare")

_LINE_BREAKERS = frozenset(("Cc", "Zl", "Zp"))  # Unicode: control characters, line and paragraph separators


def plain(value: Any) -> Any:
    """What somebody typed, as one line without control characters: it cannot begin a new line or header."""
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        return "".join(" " if category(sign) in _LINE_BREAKERS else sign for sign in value)
    return value


_loader = PackageLoader("ordino.aftercare", "templates")
_templates = ImmutableSandboxedEnvironment(
    loader=_loader,
    undefined=StrictUndefined,
    finalize=plain,
    autoescape=False,  # The messages are plain text; ``finalize`` keeps every value on its line.
    keep_trailing_newline=True,
    auto_reload=False,
)


class Fact(Struct, frozen=True):
    """What a customer is to be told: an event of an order, by a template. ``data`` are the event's facts."""

    order_id: UUID
    event_id: UUID
    template: Template
    data: dict[str, Any]


def units(quantity: int, scale: int) -> str:
    """A quantity in words: 1500 of scale 3 become 1.5."""
    if not scale:
        return str(quantity)
    whole, rest = divmod(quantity, 10**scale)
    return f"{whole}.{rest:0{scale}d}".rstrip("0").rstrip(".")


_templates.filters |= {"amount": amount, "units": units}


class Line(NamedTuple):
    """Units and their scale, the name of the SKU, the amount of the whole line in minor units, and whether it was accepted."""

    quantity: int
    scale: int
    name: str
    amount_minor: int
    accepted: bool = True


async def write(tx: Tx, told: Sequence[Fact], *, at: datetime) -> int:
    """Write the messages, and enqueue their sending where mail is configured. Returns how many are new.

    An order without an email address is not written to.
    """
    letters = await _letters(tx, told)
    if not letters:
        return 0
    rows = await sql.write_messages(
        tx,
        order_ids=[fact.order_id for fact, _, _, _ in letters],
        event_ids=[fact.event_id for fact, _, _, _ in letters],
        templates=[fact.template for fact, _, _, _ in letters],
        recipients=[recipient for _, recipient, _, _ in letters],
        subjects=[subject for _, _, subject, _ in letters],
        bodies=[body for _, _, _, body in letters],
        at=at,
    )
    await _hold_to(tx, told, {(row["order_id"], row["event_id"], row["template"]) for row in rows}, at)
    if rows and await send.somebody_sends(tx):
        due = [
            Due(send.KIND, row["order_id"], row["event_id"], at, f'{{"template":"{row["template"]}"}}') for row in rows
        ]
        await enqueue(tx, due, at=at)
    return len(rows)


async def _hold_to(tx: Tx, told: Sequence[Fact], written: set[tuple[UUID, UUID, str]], at: datetime) -> None:
    """A date that a message tells is what its customer was told last."""
    dates = [
        NewDate(order_id=fact.order_id, shipment_id=UUID(fact.data["shipment_id"]), promised_at=expected_at)
        for fact in told
        if fact.template is Template.ORDER_DELAYED
        and (fact.order_id, fact.event_id, fact.template) in written
        and (expected_at := _instant(fact.data, "expected_at")) is not None
    ]
    if dates:
        await tell(tx, dates, at=at)


async def _letters(tx: Tx, told: Sequence[Fact]) -> list[tuple[Fact, str, str, str]]:
    order_ids = list({fact.order_id for fact in told})
    orders = {row["order_id"]: row for row in await sql.told_orders(tx, order_ids=order_ids)}
    distant = {row["customer_id"] for row in orders.values() if row["email"] is None and row["customer_id"]}
    customers = {}
    if distant:
        rows = await sql.told_customers(tx, customer_ids=list(distant))
        customers = {row["customer_id"]: row for row in rows}
    recipients = {}
    for order_id, order in orders.items():
        customer = customers.get(order["customer_id"])
        recipient = plain(order["email"] or (customer and customer["email"]) or "").strip()
        if recipient:
            recipients[order_id] = recipient
    told = [fact for fact in told if fact.order_id in recipients]
    if not told:
        return []
    lines = await _lines(tx, {fact.order_id for fact in told if _tells_lines(fact.template)})
    network = await facts(tx)
    letters = []
    for fact in told:
        order = orders[fact.order_id]
        words = render(fact, _words_of(order, network, fact.data), lines.get(fact.order_id, {}))
        letters.append((fact, recipients[fact.order_id], *words))
    return letters


@cache
def _tells_lines(template: Template) -> bool:
    source, _, _ = _loader.get_source(_templates, f"{template}.txt")
    return "lines" in meta.find_undeclared_variables(_templates.parse(source))


async def _lines(tx: Tx, order_ids: set[UUID]) -> dict[UUID, dict[int, Line]]:
    if not order_ids:
        return {}
    rows = await sql.told_lines(tx, order_ids=list(order_ids))
    skus = {row["sku_id"]: row for row in await sql.sku_names(tx, sku_ids=list({row["sku_id"] for row in rows}))}
    lines: dict[UUID, dict[int, Line]] = defaultdict(dict)
    for order_id, line_no, sku_id, ordered, amount_minor, accepted in rows:
        _, name, scale = skus[sku_id]
        lines[order_id][line_no] = Line(ordered, scale, name, amount_minor, accepted)
    return lines


def _words_of(order: Any, network: NetworkFacts, data: Mapping[str, Any]) -> dict[str, Any]:
    """``arrives_on`` is the date that was told of a parcel, as long as its plan keeps it; ``expected_on`` is the carrier's."""
    serving = network.channels_by_id[order["channel_id"]].network
    zone = next((network.locations[id].zone for id in (serving.buffers if serving else ())), None)
    told, planned, expected = (_instant(data, name) for name in ("promised_at", "planned_at", "expected_at"))
    return {
        "seller": order["seller"],
        "external_id": order["external_id"],
        "name": order["name"] or "",
        "currency": order["currency"],
        "total_minor": order["accepted_total_minor"],
        "shipping_minor": order["net_shipping_minor"],
        "promised_on": _day(order["promised_at"], zone),
        "arrives_on": _day(told, zone) if told and planned and planned <= told else None,
        "expected_on": _day(expected, zone),
    }


def _instant(data: Mapping[str, Any], name: str) -> datetime | None:
    return None if data.get(name) is None else datetime.fromisoformat(data[name])


def _day(instant: datetime | None, zone: ZoneInfo | None) -> str | None:
    if instant is None:
        return None
    day = instant.astimezone(zone)
    return f"{day:%A}, {day:%B} {day.day}, {day.year}"


def render(fact: Fact, order: Mapping[str, Any], lines: Mapping[int, Line]) -> tuple[str, str]:
    """The subject and the body. Lines are those that the fact is about, or all of the order; ``dropped`` are those that were not
    accepted.
    """
    about = fact.data.get("lines")
    shown = (
        [line for line in lines.values() if line.accepted]
        if about is None
        else [lines[part["line_no"]]._replace(quantity=part["quantity"]) for part in about if part["line_no"] in lines]
    )
    text = _templates.get_template(f"{fact.template}.txt").render(
        order=order,
        lines=shown,
        dropped=[line for line in lines.values() if not line.accepted],
        data={"tracking_number": None, "amount_minor": None, "given_back_minor": None, **fact.data},
        questions=list(QUESTIONS.values()),
    )
    subject, _, body = text.partition("\n\n")
    return subject.removeprefix("Subject: ").strip(), body


async def messages(tx: Tx, order_id: UUID) -> list[Message]:
    """What the customer of an order was told, oldest first. Raises ``NotFound``."""
    rows = await sql.messages_of_order(tx, order_id=order_id)
    if not rows and not await sql.order_exists(tx, order_id=order_id):
        raise NotFound(f"There is no order {order_id}.")
    return [Message(**row) for row in rows]
