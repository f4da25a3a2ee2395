"""What the pages say is so: their examples are typed as a reader types them, and what they name is there."""

from __future__ import annotations

import json
import re
import shlex
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

import ordino.core.log
from conftest import new_database
from ordino.api.server import load_stages
from ordino.cli.commands import app
from ordino.cli.running import prepare
from ordino.core.accounts import pause
from ordino.core.database import Database, Tx
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.reactions import Registry
from ordino.core.settings import describe
from processes import running
from reader import END, PAGES, ROOT, Reader, blocks, commands, name_of, sentences
from steps import application

OPERATION = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) +(?:U|\$U|\$at)?(/v1)?(/[^\s`?|,)]+)")
TYPED = (
    "docs/howto/first-order.md", "docs/payments.md", "docs/howto/follow-events.md", "docs/howto/jobs.md", "docs/howto/calls.md",
    "docs/kpis.md", "docs/parcels.md", "docs/dates.md", "docs/access.md", "docs/inventory.md",
)  # fmt: skip
ELSEWHERE = {
    "docs/returns.md": "aftercare/test_returns.py",
    "docs/sourcing.md": "network/test_exchange.py",
    "docs/benchmarks.md": "cli/test_bench.py",
    "docs/howto/write-an-adapter.md": "connect/test_write_an_adapter.py",
    "docs/cli.md": "cli/test_call.py",
    "docs/idempotency.md": "api/test_repeats.py",
    "README.md": "cli/test_demo.py",
}
"""What the shell examples of other pages do is tested there; the names in them are compared here."""


# -- a reader -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def reader(cluster: EmbeddedPostgres, template: str, tmp_path: Path) -> AsyncIterator[Reader]:
    """At a terminal beside `ordino up`, on a database with nothing in it."""
    async with new_database(cluster, template) as url, _reading(url, tmp_path) as found:
        yield found


@asynccontextmanager
async def _reading(url: str, home: Path) -> AsyncIterator[Reader]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    await prepare(url)
    reader = Reader(url, port, home)
    try:
        with running("up", output=home / "up", port=port, ORDINO_DATABASE_URL=url) as up:
            await up.ready()
            yield reader
            assert await up.stop() == 0
    finally:
        reader.close()


FIRST_ORDER = {"01a223bd-b7ab-7000-8000-d39c135d8ad3": "order_id", "FULFILLMENT_ORDER_ID": "fulfillment_order_ids.0"}


async def first_order(reader: Reader, *, until: str = END) -> None:
    reader.learned = dict(FIRST_ORDER)
    await reader.follow("docs/howto/first-order.md", until=until)
    reader.learned = {}


async def order(reader: Reader, external_id: str) -> str:
    """The order of the page, placed once more under another number: its id."""
    typed = next(command for command in reader.shown if command.startswith("post $at/orders -d"))
    placed = await reader.type(typed.replace('"1001"', f'"{external_id}"'))
    return str(placed["order_id"])


async def test_the_pages_about_orders_events_jobs_and_calls_can_be_typed_as_they_stand(reader: Reader) -> None:
    await first_order(reader)
    await reader.follow("docs/payments.md")
    shown = await reader.type("ordino orders refunds $order_id")
    assert "3.00 USD" in shown
    assert "Three days late." in shown
    await reader.type("U=$at")
    await reader.follow("docs/kpis.md")
    await events_are_followed(reader)
    await jobs_are_started(reader)
    await calls_are_watched(reader)


async def events_are_followed(reader: Reader) -> None:
    async def recorded() -> None:
        await reader.type('curl -s "$at/events?kind=shipment_delivered&wait_seconds=30"')

    async def happened() -> None:
        await order(reader, "1002")

    reader.learned = {"AXHdKeAAAAAAAAAAAX_____AfrlK": "next"}
    await reader.follow(
        "docs/howto/follow-events.md",
        before={"events?kind=order_placed": recorded, "erp/events?wait_seconds": happened},
    )
    assert "order_placed" in str(await reader.type("ordino events follow --after beginning --once --json"))
    assert "erp" in await reader.type("ordino events subscriptions")


async def jobs_are_started(reader: Reader) -> None:
    for external_id in ("1003", "1004"):
        reader.stand_ins["01990000-0000-7000-8000-000000000001"] = await order(reader, external_id)
    [typed] = [command for command in reader.shown if '"1004"' in command]
    new = " ".join(typed.split("-d '")[1].rstrip("'").split()).replace('"1004"', '"1005"')
    reader.save("orders.ndjson", new + "\n")
    reader.learned = {"JOB_ID": "job_id"}
    await reader.follow("docs/howto/jobs.md")
    assert "cancel_orders" in await reader.type("ordino jobs list")
    assert "forget_jobs" in await reader.type("ordino schedule")


async def calls_are_watched(reader: Reader) -> None:
    async def paused() -> None:
        async with await Database.open(reader.url, pool_size=1) as database:
            account, at = "payment provider manual", database.clock.now()
            await database.transact(lambda tx: pause(tx, account, "It is away.", at=at, tried=False))

    await reader.follow("docs/howto/calls.md", before={"effects resume": paused})
    assert "This worker takes these effects: none." in reader.last


async def test_the_pages_about_dates_parcels_and_keys_can_be_typed_as_they_stand(reader: Reader) -> None:
    await first_order(reader, until="/tracking_events")
    reader.stand_ins["ORDER"] = reader.stand_ins["01a223bd-b7ab-7000-8000-d39c135d8ad3"]
    reader.learned = {"SHIPMENT": "shipment_id", "RECEIPT": "receipt_id", "ORDER": "order_id"}
    await reader.type("U=$at")
    await reader.follow("docs/dates.md")

    async def back() -> None:
        await reader.type("""post $U/tracking_events -d '{"tracking_number":"1Z999","kind":"returned_to_sender"}'""")

    await reader.follow("docs/parcels.md", before={"/receipt -d": back}, until="ordino orders receive-parcel")
    await keys_are_made(reader)


async def keys_are_made(reader: Reader) -> None:
    reader.stand_ins |= {"2027-01-01": "2099-01-01"}

    async def made() -> None:
        [shelf] = [key for key in await reader.type("ordino keys list --json") if key["name"] == "shelf"]
        assert (shelf["permissions"], shelf["locations"]) == (["stock.write"], ["dc"])
        reader.stand_ins["01a223bc-af50-7000-8000-0a7da0f31a6f"] = shelf["key_id"]

    await reader.follow("docs/access.md", before={"ordino keys revoke": made})


MUGS = """
put $U/sellers -d '{"code": "acme", "name": "Acme", "currency": "EUR"}'
put $U/channels -d '[{"code": "web", "name": "Web", "seller": "acme"}, {"code": "market", "name": "Market", "seller": "acme"}]'
put $U/skus -d '[{"code": "mug", "name": "Mug", "weight_grams": 300, "category": "kitchen"},
  {"code": "spoon", "name": "Spoon", "weight_grams": 50}, {"code": "set", "name": "Set", "weight_grams": 400}]'
put $U/locations -d '[{"code": "berlin", "name": "Berlin", "type": "warehouse", "country": "DE", "postal_code": "10115",
  "latitude": 52.5, "longitude": 13.4, "timezone": "Europe/Berlin"}, {"code": "munich", "name": "Munich", "type": "store",
  "country": "DE", "postal_code": "80331", "latitude": 48.1, "longitude": 11.6, "timezone": "Europe/Berlin"}]'
put $U/networks -d '{"code": "de", "name": "DE", "members": [{"location": "berlin"}, {"location": "munich", "buffer": 2}],
  "channels": ["web", "market"]}'
put $U/postal_codes -d '{"country": "DE", "postal_code": "20095", "latitude": 53.5, "longitude": 10.0}'
put $U/carrier_services -d '{"code": "ground", "carrier": "Parcel", "name": "Ground", "currency": "EUR", "max_grams": 30000,
  "zones": [{"zone": "all", "up_to_km": 5000, "transit_days": 3, "rates": [{"up_to_grams": 30000, "cost_minor": 900}]}]}'
"""
"""What the page says that is there already."""
ORDER = """{"channel": "web", "external_id": "1", "currency": "EUR", "total_minor": 3000,
  "lines": [{"sku": "mug", "quantity": 3, "unit_price_minor": 1000}],
  "ship_to": {"name": "Ada", "line1": "Street 1", "city": "Hamburg", "postal_code": "20095", "country": "DE"}, """


async def test_the_page_about_inventory_can_be_typed_as_it_stands(reader: Reader) -> None:
    await reader.type("U=http://127.0.0.1:8000/v1")
    for command in commands(blocks(ROOT / "docs/howto/first-order.md")[0].text)[:2] + commands(MUGS):
        await reader.type(command)
    soon = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    reader.stand_ins = {"2026-12-10T08:00:00Z": f"{soon:%Y-%m-%dT%H:%M:%SZ}", "{..., ": ORDER}
    reader.learned = {"HOLD_ID": "hold_id", "SHEET_ID": "sheet_id", "TRANSFER_ID": "transfer_id"}

    async def arrived() -> None:
        await reader.type("""post $U/receipts -d '{"sku":"mug","location":"berlin","quantity":40}'""")

    await reader.follow("docs/inventory.md", before={"$U/transfers -d": arrived})
    [available] = [shown for command, shown in reader.shown.items() if "stock available mug" in command]
    assert re.search(r"berlin.*\b40\b.*\b24\b", available)
    assert re.search(r"munich.*\b10\b.*\b9\b", available)


def test_the_shell_examples_of_all_pages_are_typed_here_or_tested_elsewhere() -> None:
    shown = {name_of(page) for page in PAGES for block in blocks(page) if block.language == "sh"}
    assert shown == {*TYPED, *ELSEWHERE}
    said = Path(__file__).read_text(encoding="utf-8")
    assert [page for page in TYPED if said.count(f'"{page}"') < 2] == []
    assert [there for there in ELSEWHERE.values() if not (Path(__file__).parent / there).exists()] == []


async def test_the_subscription_of_the_page_is_one(database: Database) -> None:
    [code] = [block.text for block in blocks(ROOT / "docs/howto/follow-events.md") if block.language == "python"]
    load_stages()
    registry = Registry()
    names = {
        "registry": registry,
        "Tx": Tx,
        "Sequence": Sequence,
        "datetime": datetime,
        "Logged": ordino.core.log.Logged,
    }
    exec(code, names)
    assert registry.subscriptions["revenue"].kinds == ("payment_captured",)


def test_the_code_for_contributors_is_in_the_source() -> None:
    pieces = [block.text for block in blocks(ROOT / "CONTRIBUTING.md") if block.language == "python"]
    assert len(pieces) > 5
    for piece in pieces:
        first, _, code = piece.partition("\n")
        assert code in said_in(ROOT / first.removeprefix("# ")), piece


# -- what pages name ----------------------------------------------------------------------------------------------------------


def said_in(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shell_words(page: Path) -> Iterator[str]:
    """Every command that the page tells to type, in its examples and its sentences."""
    for block in blocks(page):
        if block.language == "sh":
            yield from commands(block.text)
    yield from re.findall(r"`((?:ordino|make) [^`]+)`", sentences(page))


def command_of(words: list[str]) -> tuple[App, list[str]]:
    """The command that these words name, and the words that follow."""
    found: Any = app
    while words and words[0] in set(found):
        found, words = found[words[0]], words[1:]
    return found, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_that_a_page_names_are_there(page: Path) -> None:
    wrong = []
    for command in shell_words(page):
        for typed in re.findall(r"(?:^|\s|/)ordino ([^|\n>#]*)", command):
            found, rest = command_of(typed.split())
            if found is app and rest and rest[0] not in ("--help", "…", "&"):
                wrong.append(command)
                continue
            ours = getattr(found.default_command, "__module__", "").startswith("ordino")  # a group alone has none
            known = {n for argument in found.assemble_argument_collection() for n in argument.names} if ours else set()
            wrong += [
                f"{command}: {word}" for word in rest if re.match(r"--\w", word) and word not in {*known, "--help"}
            ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_that_a_page_names_are_there(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", said_in(ROOT / "Makefile"), re.MULTILINE))
    named = {
        word
        for command in shell_words(page)
        if command.startswith("make ")
        for word in shlex.split(command, comments=True)[1:]
    }
    assert {word for word in named if "=" not in word} <= targets


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, list[str]]]:
    """(method, parts of the path)"""
    load_stages()
    return [(view.method, view.path.split("/")) for view in application("postgresql://none").state.operations.views]


def is_there(method: str, path: str, operations: list[tuple[str, list[str]]]) -> bool:
    parts = path.split("/")
    return any(
        method == known
        and len(parts) == len(route)
        and all(name.startswith("{") or said == name for said, name in zip(parts, route, strict=True))
        for known, route in operations
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_requests_that_a_page_names_are_operations(page: Path, operations: list[tuple[str, list[str]]]) -> None:
    named = {(method, prefix, path.rstrip(".:;")) for method, prefix, path in OPERATION.findall(said_in(page))}
    wrong = [
        f"{method} {path}"
        for method, prefix, path in sorted(named)
        if not is_there(method, f"{prefix or '/v1'}{path}", operations) and not is_there(method, path, operations)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"\bORDINO_[A-Z_]*[A-Z]\b", said_in(page)))
    assert named - {row.variable for row in describe()} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", said_in(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)$", said_in(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_of_a_page_is_in_fences_and_json_can_be_read(page: Path) -> None:
    assert re.findall(r"\n\n    \w.*", sentences(page)) == [], (
        "put it between ``` and name its language, so that it is tested"
    )
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)


def test_the_readme_leads_to_every_page() -> None:
    named = set(re.findall(r"\]\(([^)#\s]+)", said_in(ROOT / "README.md")))
    pages = {name_of(page) for page in PAGES if "decisions" not in page.parts}
    assert pages - named == {"README.md", "CONTRIBUTING.md"} - named


def test_lines_of_the_changelog_are_short() -> None:
    assert [line for line in said_in(ROOT / "CHANGELOG.md").splitlines() if len(line) > 132] == []


async def test_the_reader_notices_what_is_wrong(database_url: str, tmp_path: Path) -> None:
    """The control: a command that fails, a refusal, and an answer that is another one than the page shows."""
    reader = Reader(database_url, 1, tmp_path)
    try:
        with pytest.raises(AssertionError, match="ordino effects resume nobody"):
            await reader.type("ordino effects resume nobody")
        with pytest.raises(AssertionError, match="urn:ordino:problem"):
            await reader.type("""echo '{"type":"urn:ordino:problem:invalid"}'""")
        page = tmp_path / "page.md"
        page.write_text('```sh\necho \'{"left": 2}\'\n```\n```json\n{"left": 3}\n```\n')
        with pytest.raises(AssertionError, match=r"page\.md:4, left"):
            await reader.follow(str(page))
    finally:
        reader.close()
