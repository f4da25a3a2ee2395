"""The one order in which all transactions take locks.

LCK-1  Nobody waits in a circle: there are no deadlocks.

Whoever holds something waits only for what stands further down, and takes rows of one kind in the order of their keys, in one
statement. So there is no deadlock for the database to break. What a transaction may need further up, it takes before; if it
finds out too late, it raises ``Raced`` and runs again, ``careful`` from the start. Reading never locks, and never makes a later
statement lock: a verb decides at its beginning whether it holds what it decides on (``inventory.shelf.must_hold``).

Rows that are not named here are changed only under one that is: an order's lines, allocations, claims, payments, parcels and
returns under the order, a hold's lines and reservations under the hold, what is picked, set aside, in bins and lots under its
position, or by whoever has just made them.
"""

from __future__ import annotations

from typing import NamedTuple


class Rung(NamedTuple):
    """What is taken at one place in the order, by its key, and why there."""

    name: str
    key: str
    why: str


LADDER = (
    Rung("request", "key", "A repeat waits for the first before it does anything."),
    Rung(
        "feed",
        "name",
        "As a request: a set of a named feed that comes again waits for the first. It may have a client key, too.",
    ),
    Rung("duty", "name", "One worker at a time; the others pass it over and never wait."),
    Rung("log", "", "One worker at a time gives positions; the others pass it over, and nobody waits."),
    Rung("subscription", "name", "One worker at a time follows for it; the others pass it over and never wait."),
    Rung("reaction", "id", "Taken with SKIP LOCKED: nobody ever waits for one."),
    Rung("document", "id", "Transfers and count sheets are to their lines what orders are to theirs."),
    Rung(
        "counting",
        "",
        "A count as of a time in the past waits for all other counts, and they for it, before any holds a position.",
    ),
    Rung(
        "order",
        "order id",
        "Everything that an order has is changed under it: its state decides what a verb does at all.",
    ),
    Rung(
        "network",
        "",
        "Release looks at closures once it knows which orders it has; changes of the network take no orders.",
    ),
    Rung("cart", "channel, cart", "Which hold a cart has is known only once the cart is held."),
    Rung("hold", "hold id", "A hold ends by giving stock back, so it comes before the stock."),
    Rung("customer", "seller, external id", "A new customer is claimed before the order that brings them."),
    Rung(
        "order key",
        "channel, external id",
        "A repeat waits here, before it holds a day or stock that many others want.",
    ),
    Rung("tracking number", "number", "Two shipments of one parcel take turns, before their units leave the stock."),
    Rung(
        "day", "location, day", "Fewer orders want one day of one location than want one SKU: days come before stock."
    ),
    Rung(
        "position",
        "SKU, location",
        "Most transactions want these, so they are held for the shortest time: all else that is decided on is taken before.",
    ),
    Rung("lot", "SKU, lot", "Goods that come in name their lot; one lot may come in at several locations at once."),
    Rung("serial number", "SKU, serial", "Two transactions may name one number, for units at different locations."),
    Rung(
        "shortfall",
        "SKU, location",
        "A count writes it under the position; whoever frees units reads it under the position.",
    ),
    Rung(
        "kits",
        "",
        "A SKU that gets its first stock, or that orders wait for, can no longer become a kit: said once that is written.",
    ),
    Rung(
        "job",
        "id",
        "A job's progress is written with its rows, once they are done; who asks for it holds nothing else.",
    ),
    Rung("waiting", "SKU, channel", "Gathered in the transaction, and written once, right before the commit."),
)
