"""Households as customers, and their baskets as orders. The purchases are real; names, streets and addresses are invented, by seed.

A household buys where its number's hash says: in the web shop (55 of 100; what is short is backordered), in the app (20; what is
short is dropped) or on the marketplace (25; an order that is short is refused). Shipping is free from 35.00, and 5.99 below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ordino.cli.demo.baskets import Basket
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.places import Place
from ordino.orders.model import Address, NewCustomer, NewLine, NewOrder

CURRENCY = "USD"
FREE_SHIPPING_FROM_MINOR = 3500
SHIPPING_MINOR = 599

FIRST_NAMES = (
    "Ada Alan Amara Anna Ben Carla Chen Dana Diego Elena Emil Farah George Grace Hana Ines Ivan Jada James Jun Karen Kofi Lara "
    "Leo Lin Maria Mei Nadia Noah Olga Omar Paul Priya Rosa Ruth Sam Sara Tariq Tom Uma Vera Wei Yara Zoe"
)
LAST_NAMES = (
    "Adams Alvarez Baker Brooks Chen Cohen Diaz Evans Fischer Garcia Gray Hall Hansen Hughes Ito Jackson Kaya Kim Kowalski "
    "Lee Lopez Martin Meyer Miller Moore Nguyen Novak Okafor Patel Perez Quinn Reed Rossi Santos Schmidt Silva Smith Young"
)
STREETS = (
    "Birch Cedar Church Elm Highland Hill Lake Lincoln Main Maple Mill Oak Park Pine River Spring Walnut Washington"
)


class Cart(Struct, frozen=True):
    """An order, and when it is sent."""

    at: datetime
    household_id: int
    order: NewOrder


def sku_code(product_id: int) -> str:
    return f"CJ{product_id}"


def channel_of(household_id: int, dice: Dice) -> str:
    where = dice.chance("channel", household_id)
    return "web-shop" if where < 0.55 else "app" if where < 0.75 else "marketplace"


def carts(baskets: Sequence[Basket], homes: Mapping[int, Place], dice: Dice) -> list[Cart]:
    """One order a basket, oldest first."""
    people = {household: _person(household, home, dice) for household, home in homes.items()}
    made = []
    for basket in baskets:
        customer, address, channel = people[basket.household_id]
        paid = sum(line.quantity * line.unit_price_minor for line in basket.lines) - basket.discount_minor
        shipping = 0 if paid >= FREE_SHIPPING_FROM_MINOR else SHIPPING_MINOR
        order = NewOrder(
            channel=channel,
            external_id=str(basket.basket_id),
            currency=CURRENCY,
            lines=[
                NewLine(sku=sku_code(line.product_id), quantity=line.quantity, unit_price_minor=line.unit_price_minor)
                for line in basket.lines
            ],
            shipping_minor=shipping,
            discount_minor=basket.discount_minor,
            total_minor=paid + shipping,
            ship_to=address,
            customer=customer,
        )
        made.append(Cart(basket.at, basket.household_id, order))
    return made


def _person(household: int, home: Place, dice: Dice) -> tuple[NewCustomer, Address, str]:
    first = dice.one_of(FIRST_NAMES.split(), "first name", household)
    last = dice.one_of(LAST_NAMES.split(), "last name", household)
    name = f"{first} {last}"
    email = f"{first}.{last}.{household}@example.com".lower()
    street = f"{dice.between(1, 999, 'number', household)} {dice.one_of(STREETS.split(), 'street', household)} Street"
    address = Address(
        name=name,
        line1=street,
        city=home.city,
        region=home.region,
        postal_code=home.postal_code,
        country="US",
        email=email,
    )
    return NewCustomer(external_id=str(household), name=name, email=email), address, channel_of(household, dice)
