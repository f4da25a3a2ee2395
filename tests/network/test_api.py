"""Catalog and network over HTTP: one, several, or rows without an end; each wrong row is told with its line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide

from ordino.catalog import api as catalog_api
from ordino.core import rows
from ordino.core.database import Database
from ordino.core.errors import Refused
from ordino.core.rows import Limits
from ordino.network import api as network_api
from ordino.orders import kits_api
from ordino.web import bulk, loads

SKU = {"code": "tea", "name": "Tea"}


def _problem(request: Request[Any, Any, Any], error: Refused) -> Response[Any]:
    return Response({"code": error.code, "detail": error.detail, "errors": error.faults}, status_code=error.status)


@pytest.fixture(scope="module")
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar(
        [*catalog_api.routes, *kits_api.routes, *network_api.routes],
        dependencies={"database": Provide(lambda: database, sync_to_thread=False)},
        exception_handlers={Refused: _problem},
        state=State({"row_limits": Limits()}),
    )
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_one_or_a_list_of_them(client: httpx.AsyncClient) -> None:
    created = await client.put("/v1/skus", json=SKU)
    assert (created.status_code, created.json()) == (201, {"outcome": "created", "code": "tea"})
    again = await client.put("/v1/skus", json=SKU)
    assert (again.status_code, again.json()) == (200, {"outcome": "unchanged", "code": "tea"})
    several = await client.post(
        "/v1/skus", json={"skus": [SKU | {"weight_grams": 3}, SKU | {"code": 7}, {"code": "x"}, 1]}
    )
    assert several.status_code == 200
    updated, *refused = several.json()["outcomes"]
    assert updated == {"outcome": "updated", "code": "tea"}
    assert [(o["outcome"], o["code"], o["pointer"]) for o in refused] == [
        ("refused", "", "/code"),
        ("refused", "x", "/name"),
        ("refused", "", ""),
    ]
    assert (await client.put("/v1/skus", json=[SKU])).json() == {"outcomes": [{"outcome": "updated", "code": "tea"}]}
    assert (await client.get("/v1/skus/tea")).json()["weight_grams"] == 0
    assert (await client.put("/v1/skus", json=[])).json() == {"outcomes": []}


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (SKU | {"gtin": "4006381333932"}, 400, "/gtin"),
        (SKU | {"weight_grams": "heavy"}, 400, "/weight_grams"),
        (SKU | {"colour": "green"}, 400, "/colour"),
        (SKU | {"unit_scale": 2}, 409, "/unit_scale"),
        ({"skus": 5}, 400, "/skus"),
        (5, 400, ""),
        (None, 400, ""),
    ],
)
async def test_a_single_refusal_is_a_problem(client: httpx.AsyncClient, body: Any, status: int, pointer: str) -> None:
    await client.put("/v1/skus", json=SKU)
    answer = await client.put("/v1/skus", json=body)
    assert answer.status_code == status
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_what_is_not_json_is_refused(client: httpx.AsyncClient) -> None:
    for body in (b'{"code": "te', b"", b'"\xff"'):
        answer = await client.put("/v1/skus", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
    big = b'[{"code": "' + b"x" * bulk.JSON_BYTES + b'"}]'
    refused = await client.put("/v1/skus", content=big)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert f"at most {bulk.JSON_BYTES} bytes; send text/csv" in refused.json()["detail"]
    assert (await client.put("/v1/skus", json=[SKU] * (bulk.JSON_ITEMS + 1))).status_code == 400


async def test_unknown_names_are_told(client: httpx.AsyncClient) -> None:
    channel = await client.put("/v1/channels", json={"code": "web", "name": "Web", "seller": "nobody"})
    assert (channel.status_code, channel.json()["errors"][0]["pointer"]) == (422, "/seller")
    for path in ("/v1/skus/nothing", "/v1/kits/tea", "/v1/locations/nowhere", "/v1/postal_codes/DE/1"):
        assert (await client.get(path)).status_code == 404, path
    for path in ("/v1/skus/%00", "/v1/skus?after=%00", "/v1/skus?limit=0", "/v1/skus?limit=1001"):
        assert (await client.get(path)).status_code == 400, path


async def test_the_whole_network_goes_in_and_comes_out(client: httpx.AsyncClient) -> None:
    things: dict[str, dict[str, Any]] = {
        "sellers": {"code": "s", "name": "S", "currency": "EUR", "locale": "de", "return_window_days": 14},
        "channels": {
            "code": "c",
            "name": "C",
            "seller": "s",
            "short_policy": "backorder",
            "payment_provider": "manual",
        },
        "locations": {
            "code": "l",
            "name": "L",
            "type": "3pl",
            "country": "DE",
            "postal_code": "10115",
            "latitude": 52.5,
            "longitude": 13.4,
            "timezone": "Europe/Berlin",
            "working_days": [1, 2],
            "cut_off": "12:00",
            "daily_capacity": None,
            "handling_cost_minor": 5,
            "serves_countries": ["DE"],
            "active": True,
            "bins": False,
            "tags": ["eco", "north"],
            "handles": ["frozen"],
            "serves_prefixes": ["1", "2"],
            "handling_line_cost_minor": 3,
            "handling_unit_cost_minor": 2,
            "daily_unit_capacity": 900,
            "priority": 4,
            "processing_days": 1,
            "holidays": "DE-BE",
            "pickup": True,
            "pickup_ready_minutes": 90,
            "opens": "08:00",
            "closes": "18:30",
            "currency": "EUR",
            "ships_until": "21:30",
        },
        "networks": {"code": "n", "name": "N", "members": [{"location": "l", "buffer": 2}], "channels": ["c"]},
        "carrier_services": {
            "code": "g",
            "carrier": "G",
            "name": "Ground",
            "currency": "EUR",
            "max_grams": 1000,
            "working_days": [1],
            "active": True,
            "level": "express",
            "holidays": "DE",
            "dimensional_cubic_cm_per_kg": 5000,
            "max_cubic_cm": 120_000,
            "carbon_grams_per_kg_km": 0.15,
            "zones": [
                {"zone": "z", "up_to_km": None, "transit_days": 1, "rates": [{"up_to_grams": 1000, "cost_minor": 1}]}
            ],
            "lanes": [{"origin_prefix": "", "destination_prefix": "1", "zone": "z"}],
        },
    }
    await client.put("/v1/skus", json=[SKU, {"code": "gift", "name": "Gift"}])
    things["carrier_pickups"] = {
        "code": "p",
        "location": "l",
        "carrier_service": "g",
        "working_days": [2, 5],
        "at": "11:00",
    }
    things["kits"] = {"sku": "gift", "components": [{"sku": "tea", "quantity": 2}]}
    for name, thing in things.items():
        put = await client.put(f"/v1/{name}", json=thing)
        assert put.status_code == 201, put.text
        assert (await client.get(f"/v1/{name}/{thing.get('code', 'gift')}")).json() == thing
        assert thing in (await client.get(f"/v1/{name}")).json()[name]


async def test_days_of_another_capacity_come_and_go(client: httpx.AsyncClient) -> None:
    await client.put(
        "/v1/locations",
        json={"code": "cd", "name": "L", "type": "store", "country": "US", "postal_code": "1", "latitude": 1,
              "longitude": 1, "timezone": "UTC", "daily_capacity": 10},
    )  # fmt: skip
    day = {"location": "cd", "ship_on": "2026-12-24", "orders": 3, "units": None}
    assert (await client.put("/v1/capacity_days", json=day)).json() == {"outcome": "created", "code": "cd/2026-12-24"}
    assert (await client.put("/v1/capacity_days", json=day)).json()["outcome"] == "unchanged"
    assert day in (await client.get("/v1/capacity_days")).json()["capacity_days"]
    assert (await client.delete("/v1/capacity_days/cd/2026-12-24")).status_code == 200
    assert (await client.delete("/v1/capacity_days/cd/2026-12-24")).status_code == 404
    wrong = await client.put("/v1/capacity_days", json={**day, "location": "nowhere"})
    assert "There is no location 'nowhere'" in wrong.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "pointer", "said"),
    [
        ({"holidays": "XX"}, "/holidays", "There is no calendar 'XX'"),
        ({"holidays": "US-ZZ"}, "/holidays", "of US there are AK, AL"),
        ({"opens": "20:00", "closes": "08:00"}, "/closes", "A location closes after it opens"),
        ({"processing_days": -1}, "/processing_days", "at least 0"),
        ({"daily_unit_capacity": -5}, "/daily_unit_capacity", "at least 0"),
    ],
)
async def test_a_location_that_cannot_be_is_refused_with_what_to_do(
    client: httpx.AsyncClient, changes: dict[str, Any], pointer: str, said: str
) -> None:
    plain = {"code": "wrong", "name": "L", "type": "store", "country": "US", "postal_code": "1", "latitude": 1, "longitude": 1,
             "timezone": "UTC"}  # fmt: skip
    answer = await client.put("/v1/locations", json={**plain, **changes})
    assert answer.status_code == 400 or answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert said in answer.json()["errors"][0]["detail"]


async def test_pages_end(client: httpx.AsyncClient) -> None:
    await client.put("/v1/skus", json=[{"code": f"z{n}", "name": "Z"} for n in range(5)])
    first = (await client.get("/v1/skus?after=z&limit=3")).json()
    second = (await client.get(f"/v1/skus?after={first['next']}&limit=3")).json()
    assert [sku["code"] for sku in first["skus"] + second["skus"]] == [f"z{n}" for n in range(5)]
    assert second["next"] is None


async def _csv(client: httpx.AsyncClient, name: str, text: str | bytes | AsyncIterator[bytes]) -> Any:
    return await client.put(f"/v1/{name}", content=text, headers={"content-type": "text/csv; charset=utf-8"})


async def test_rows_are_told_apart_by_their_lines(client: httpx.AsyncClient) -> None:
    text = (
        "\ufeffcode,name,weight_grams,backorderable,gtin,category\r\n"
        "row-1,Plain,5,true,,\r\n"
        '"row-2","With, comma and ""quotes""\nand a line",,false,4006381333931,null\r\n'
        "\r\n"
        "row-3,Heavy,many,,,\r\n"
        "row-4,Short,1\r\n"
        "row-5,Wrong,1,,4006381333932,\r\n"
        "row-1,Plain,6,true,,"
    )
    answer = await _csv(client, "skus", text)
    assert answer.status_code == 200, answer.text
    loaded = answer.json()
    assert {key: loaded[key] for key in loaded if key != "faults"} == {
        "rows": 6,
        "created": 2,
        "updated": 1,
        "unchanged": 0,
        "refused": 3,
    }
    assert [(fault["line"], fault["pointer"]) for fault in loaded["faults"]] == [
        (6, "/weight_grams"),
        (7, ""),
        (8, "/gtin"),
    ]
    two = (await client.get("/v1/skus/row-2")).json()
    assert two["name"] == 'With, comma and "quotes"\nand a line'
    assert (two["weight_grams"], two["gtin"], two["backorderable"]) == (0, "4006381333931", False)
    one = (await client.get("/v1/skus/row-1")).json()
    assert (one["weight_grams"], one["backorderable"], one["category"]) == (6, True, None)


async def test_lists_and_times_fit_into_cells(client: httpx.AsyncClient) -> None:
    text = (
        "code,name,type,country,postal_code,latitude,longitude,timezone,working_days,serves_countries,cut_off,daily_capacity\n"
        "dc,DC,distribution_center,US,43215,39.96,-83,America/New_York,1 2 3 4 5 6,US CA,16:30,\n"
        "moon,Moon,warehouse,US,0,0,0,Moon/Tranquility,,,,\n"
    )
    answer = await _csv(client, "locations", text)
    assert answer.json()["created"] == 1
    assert answer.json()["faults"][0]["line"] == 3
    found = (await client.get("/v1/locations/dc")).json()
    assert (found["working_days"], found["serves_countries"]) == ([1, 2, 3, 4, 5, 6], ["CA", "US"])
    assert (found["cut_off"], found["daily_capacity"]) == ("16:30", None)


async def test_a_load_has_no_end_to_its_length(client: httpx.AsyncClient) -> None:
    count = 3 * loads.ROWS_AT_ONCE + 17

    async def text() -> AsyncIterator[bytes]:
        yield b"country,postal_code,latitude,longitude\n"
        for n in range(count):
            yield f"US,{n:05},{n / 1000},-1\n".encode()
            if n == 5000:
                yield b"US,bad,91,0\n"

    answer = await _csv(client, "postal_codes", text())
    assert answer.json()["created"] == count
    assert [(fault["line"], fault["pointer"]) for fault in answer.json()["faults"]] == [(5003, "/latitude")]
    assert (await client.get("/v1/postal_codes/US/12016")).json()["latitude"] == 12.016
    page = (await client.get("/v1/postal_codes/US?after=12014&limit=10")).json()
    assert [place["postal_code"] for place in page["postal_codes"]] == ["12015", "12016"]


async def test_rows_may_be_json(client: httpx.AsyncClient) -> None:
    lines = b'{"code": "n1", "name": "N"}\n\n{"code": "n2", "name": "N", "weight_grams": "5"}\n{"code"\n{"code": "n3", "name": "N"}'
    answer = await client.post("/v1/skus", content=lines, headers={"content-type": "application/x-ndjson"})
    assert (answer.json()["created"], answer.json()["refused"]) == (2, 2)
    assert [fault["line"] for fault in answer.json()["faults"]] == [3, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("code,title\nx,y\n", "does not know 'title'"),
        ("code\nx\n", "lacks name"),
        ("code,name,code\nx,y,x\n", "names a column twice"),
        (b"code,name\nx,\xff\n", "not UTF-8"),
    ],
)
async def test_a_table_that_cannot_be_read_is_refused(client: httpx.AsyncClient, text: str | bytes, said: str) -> None:
    answer = await _csv(client, "skus", text)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_an_open_quote_does_not_swallow_everything(client: httpx.AsyncClient) -> None:
    many = "".join(f"q{n},Name\n" for n in range(rows.LINE_CHARACTERS // 5))
    answer = await _csv(client, "skus", 'code,name\nq,Name\nopen,"' + many)
    assert answer.status_code == 400
    assert "Line 3 is longer" in answer.json()["detail"]
    assert "1 rows before it were processed" in answer.json()["detail"]
    assert (await client.get("/v1/skus/q")).status_code == 200


async def test_documents_do_not_fit_into_rows(client: httpx.AsyncClient) -> None:
    answer = await _csv(client, "carrier_services", "code\nx\n")
    assert answer.status_code == 400


async def test_the_openapi_document_knows_the_bodies(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    body = document["paths"]["/v1/skus"]["put"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/x-ndjson", "text/csv"}
    one, several, _ = body["application/json"]["schema"]["anyOf"]
    assert one["required"] == ["code", "name"]
    assert several["properties"]["skus"]["items"] == one
    assert "$ref" not in msgspec.json.encode(document["paths"]["/v1/carrier_services"]["put"]["requestBody"]).decode()
