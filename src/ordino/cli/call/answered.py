"""Answers as people and programs read them: tables on a terminal, what was answered everywhere else, and sentences for refusals."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from ordino.cli.call.asked import Wanted
from ordino.cli.call.calling import Answer, Call
from ordino.cli.terminal import console
from ordino.core.rows import NDJSON
from ordino.web.bodies import JSON
from ordino.web.problems import PROBLEM

COLUMN_CHARACTERS = 12
"""A table with less room a column is shown as one block an item instead."""
MOST_FAULTS = 20


async def told(call: Call, wanted: Wanted, *, json: bool) -> int:
    """Call once and print the answer; the exit status of the command."""
    async with call(wanted) as answer:
        if not _is_done(answer):
            return await refused(answer, json=json)
        for_people = answer.media_type == JSON and not json and on_terminal()
        if wanted.view.method == "GET" and not for_people:
            await _copy(answer)
            return 0
        body = await answer.whole()
    if for_people:
        console.print(as_people_read(msgspec.json.decode(body)))
    else:
        _write(body, ends=answer.media_type == JSON)
    return _of_items(body, wanted) if answer.media_type == JSON else 0


async def told_all(call: Call, wanted: Wanted, *, json: bool) -> int:
    """Call for page after page and print their items: one JSON document a line, or a table a page on a terminal."""
    for_people = not json and on_terminal()
    cursor = wanted.cursor
    while True:
        async with call(wanted) as answer:
            if not _is_done(answer):
                return await refused(answer, json=json)
            page = msgspec.json.decode(await answer.whole())
        items = items_of(page)
        if for_people and items:
            console.print(as_people_read(items))
        elif items:
            _write(b"\n".join(msgspec.json.encode(item) for item in items), ends=True)
        following = page.get("next") if isinstance(page, dict) else None
        more = page.get("more", bool(items)) if following is not None else False
        if not more or (cursor, str(following)) in wanted.query:
            return 0
        wanted = wanted.from_cursor(str(following))


async def refused(answer: Answer, *, json: bool) -> int:
    """Say why there is no other answer; the document goes to the standard output if JSON is asked for."""
    body = await answer.whole()
    for sentence in _sentences(answer, body):
        print(f"ordino: {sentence}", file=sys.stderr)
    if json and answer.media_type == PROBLEM:
        _write(body, ends=True)
    return 1


def on_terminal() -> bool:
    """Do people read the standard output?"""
    return sys.stdout.isatty()


def _is_done(answer: Answer) -> bool:
    return 200 <= answer.status < 300 and answer.media_type in (JSON, NDJSON)


def _sentences(answer: Answer, body: bytes) -> Iterator[str]:
    if answer.media_type != PROBLEM:
        yield f"The server answered with status {answer.status}, and not as Ordino does. Is it one? Check ORDINO_URL."
        return
    problem = msgspec.json.decode(body)
    yield problem["detail"]
    faults = problem.get("errors", ())
    if len(faults) > 1:  # a single one is told by the sentence
        for fault in faults[:MOST_FAULTS]:
            yield f"{fault['pointer']}: {fault['detail']}"


def _of_items(body: bytes, wanted: Wanted) -> int:
    """1 if something of a list was refused, which is said; else 0."""
    found = msgspec.json.decode(body) if wanted.view.method != "GET" else None
    if not isinstance(found, dict):
        return 0
    count = found.get("refused", 0) if "faults" in found else 0
    codes = {one.code for one in wanted.view.refusals} | {"forbidden"}
    outcomes = found.get("outcomes")
    if isinstance(outcomes, list):
        count = sum(isinstance(one, dict) and one.get("reason") in codes and "detail" in one for one in outcomes)
    if not count:
        return 0
    print(f"ordino: {count} refused; the answer says why.", file=sys.stderr)
    return 1


async def _copy(answer: Answer) -> None:
    """What is answered, as it comes."""
    async for part in answer.parts:
        _write(part, ends=False)
    if answer.media_type == JSON:
        _write(b"", ends=True)
    sys.stdout.flush()


def _write(part: bytes, *, ends: bool) -> None:
    """To the standard output, byte by byte as it was answered; ``ends``: with the end of a line."""
    sys.stdout.flush()
    sys.stdout.buffer.write(part + b"\n" if ends else part)
    if ends:
        sys.stdout.buffer.flush()


def items_of(page: Any) -> list[Any]:
    """The items of a page: its only list, or the page itself where it has none."""
    if isinstance(page, list):
        return page
    lists = [value for value in page.values() if isinstance(value, list)] if isinstance(page, dict) else []
    return lists[0] if len(lists) == 1 else [page]


def as_people_read(found: Any) -> RenderableType:
    """A list of objects as a table; an object as its fields, with a table of each list in it."""
    if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
        return _table(found)
    if not isinstance(found, dict):
        return Text(_cell(found))
    lists = {name: value for name, value in found.items() if _is_table(value)}
    fields = {name: value for name, value in found.items() if name not in lists and value not in (None, [], {})}
    parts: list[RenderableType] = [_fields(fields)] if fields else []
    for name, items in lists.items():
        parts += [Text(name.replace("_", " "), style="bold"), _table(items)] if len(found) > 1 else [_table(items)]
    return Group(*parts) if parts else Text("Nothing.")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _table(items: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Fields that no item has are left out. Where the terminal has no room for the others, each item is a block of its own."""
    names = list(dict.fromkeys(name for item in items for name, value in item.items() if value not in (None, [], {})))
    if len(names) * COLUMN_CHARACTERS > console.width:
        blocks: list[RenderableType] = []
        for item in items:
            blocks += [_fields(item), Text("")]
        return Group(*blocks[:-1])
    table = Table(*(Column(name.replace("_", " "), overflow="fold") for name in names))
    for item in items:
        table.add_row(*(Text(_cell(item.get(name))) for name in names))
    return table


def _fields(item: Mapping[str, Any]) -> Table:
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, value in item.items():
        if value is not None:
            grid.add_row(name.replace("_", " "), Text(_cell(value)))
    return grid


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
