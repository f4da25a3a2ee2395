"""What a browser is given: pages that load nothing from elsewhere, and headers that would not let them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import AsyncClient
from litestar.routes import HTTPRoute

import ordino
from ordino.api.server import load_stages
from steps import application, calling

ELSEWHERE = re.compile(r"""(?:src|href|url|import|action)\s*[=(:]?\s*["']?\s*(?:https?:)?//""", re.IGNORECASE)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncClient]:
    load_stages()
    async with calling(application(database_url)) as client:
        yield client


async def test_every_page_loads_nothing_from_elsewhere_and_says_so(database_url: str, client: AsyncClient) -> None:
    routes = [
        route for route in application(database_url).routes if isinstance(route, HTTPRoute) and "{" not in route.path
    ]
    pages = []
    for path in sorted({route.path for route in routes if route.path.startswith("/schema")}):
        answer = await client.get(path, headers={"Accept": "text/html"})
        assert answer.headers["x-content-type-options"] == "nosniff", path
        if "html" not in answer.headers["content-type"]:
            continue
        pages.append(path)
        assert not ELSEWHERE.search(answer.text), path
        policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert not any("*" in sources or "http" in sources for sources in policy.values())
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert not re.search(r"<script[^>]*>\s*[^<\s]", answer.text), "the policy forbids scripts in pages"
    assert "/schema" in pages


async def test_what_the_viewer_needs_comes_with_it(client: AsyncClient) -> None:
    page = (await client.get("/schema", headers={"Accept": "text/html"})).text
    wanted = re.findall(r'<(?:script|link)[^>]+(?:src|href)="([^"]+)"', page)
    assert len(wanted) == 4
    for path in wanted:
        if path != "data:,":
            answer = await client.get(path)
            assert (answer.status_code, len(answer.content) > 80) == (200, True), path
    script = (await client.get("/schema/viewer.js")).text
    [document] = re.findall(r'url: "([^"]+)"', script)
    assert (await client.get(document)).json()["openapi"].startswith("3.1")


def test_no_page_in_the_sources_names_a_file_from_elsewhere() -> None:
    for path in Path(ordino.__file__).parent.rglob("*"):
        if path.suffix in (".html", ".js", ".css", ".j2", ".jinja"):
            assert not ELSEWHERE.search(path.read_text(encoding="utf-8")), path
