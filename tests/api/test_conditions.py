"""A large order under a routing profile whose conditions take about all the steps that they may: it is placed, and the server lives."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from ordino.core.database import Database
from ordino.sourcing import versions
from ordino.sourcing.condition import IN_ALL, CelCondition, budget
from steps import application, calling, meanwhile, order_body
from world import served_world

LINES = 1000
CONDITIONS = 11
PLACED_SECONDS = 30.0
HEALTH_SECONDS = 15.0
"""Two seconds on a machine that does nothing else. Five macros took eleven, and more than that none would end."""
EACH = (
    "lines.exists(a, a.quantity > 100{n} || a.unit_price_minor > 900{n} || a.group == 'g{n}' || a.category == 'c{n}' || "
    "a.grams > 90000{n} || a.sku == 'none-{n}' || a.kit)"
)


def _condition(n: int) -> str:
    return " || ".join(EACH.replace("{n}", f"{n}{part}") for part in range(4))


def _order(external_id: str) -> dict[str, Any]:
    body = order_body(external_id, lines=LINES)
    for n, line in enumerate(body["lines"]):
        line["sku"] = f"sku-{n % 4 + 1}"
    return body


async def test_an_order_of_a_thousand_lines_is_placed_under_conditions_near_their_budget(
    database: Database, database_url: str
) -> None:
    at = database.clock.now()
    await served_world(database, skus=4, stock=10_000)
    sources = [_condition(n) for n in range(CONDITIONS)]
    each = [CelCondition(source).steps(LINES) for source in sources]
    assert max(each) <= budget(LINES)
    assert 0.8 * IN_ALL * budget(LINES) < sum(each[:-1]) <= IN_ALL * budget(LINES) < sum(each) + each[0]
    looks = "".join(f'  - name: s{n}\n    when: "{source}"\n' for n, source in enumerate(sources))
    text = f"name: near_the_budget\nstrategies:\n{looks}  - name: rest\n"
    version = await database.transact(lambda tx: versions.draft(tx, text, at=at))
    await database.transact(lambda tx: versions.activate(tx, version, at=at))
    async with calling(application(database_url)) as http:
        answer, waited = await meanwhile(http, http.post("/v1/orders", json=_order("large")))
        began = perf_counter()
        beside = await asyncio.gather(*(http.post("/v1/orders", json=_order(f"large-{n}")) for n in range(3)))
        took = perf_counter() - began
    assert answer.status_code == 201, answer.text
    assert [one.status_code for one in beside] == [201] * 3
    assert waited < HEALTH_SECONDS
    assert took < 3 * PLACED_SECONDS
    print(f"health waited {waited:.2f} s at most; three such orders at once took {took:.2f} s; {sum(each):.0f} steps")
    order_id = answer.json()["order_id"]
    failed = await database.pool.fetchval(
        "SELECT count(*) FROM core.events WHERE subject_id = $1 AND kind = 'condition_failed'", order_id
    )
    [explanation] = await database.pool.fetchrow(
        "SELECT explanation::text FROM sourcing.decisions WHERE order_id = $1", order_id
    )
    assert '"rest"' in explanation
    assert failed == 0
