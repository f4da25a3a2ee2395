"""``ordino call``: every operation of the API as a command, on the database itself or at a server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from rich.table import Column, Table
from rich.text import Text

from ordino.cli import running
from ordino.cli.call import answered
from ordino.cli.call.asked import Misused, Wanted, address, body_of, named, token_of, wanted
from ordino.cli.call.calling import Application, over_http
from ordino.cli.call.described import described, in_words
from ordino.cli.terminal import Json, Key, on_database, show
from ordino.core.database import Database
from ordino.core.settings import Settings

T = TypeVar("T")
MISUSED = 2

call_app = App(name="call", help="Call any operation of the API by its name, such as `ordino call skus.get code=tea`.")

Name = Annotated[str | None, Parameter(help="Such as orders.place; without it, all operations are listed.")]
Words = Annotated[
    list[str] | None, Parameter(help="NAME=VALUE, parameters of the path and the query; repeat one for more values.")
]
BodyFile = Annotated[
    Path | None, Parameter(help="A file with the body; - is the standard input.", allow_leading_hyphen=True)
]
Data = Annotated[str | None, Parameter(help="The body itself.", allow_leading_hyphen=True)]
ContentType = Annotated[
    str | None, Parameter(help="How the body is written, e.g. text/csv; without it, the file's name tells.")
]
EveryPage = Annotated[bool, Parameter(name="--all", help="Read all pages: one JSON document an item.", negative="")]
Server = Annotated[str | None, Parameter(help="Call this server; without it and ORDINO_URL, the database is used.")]
ApiKey = Annotated[str | None, Parameter(help="Call with this API key instead of ORDINO_KEY.")]
Raw = Annotated[bool, Parameter(help="JSON on a terminal, too, and of refusals.", negative="")]
Help = Annotated[bool, Parameter(name=["--help", "-h"], help="What the operation takes.", negative="")]


@call_app.default
def call(
    operation: Name = None,
    parameters: Words = None,
    *,
    body: BodyFile = None,
    data: Data = None,
    content_type: ContentType = None,
    key: Key = None,
    every_page: EveryPage = False,
    url: Server = None,
    api_key: ApiKey = None,
    json: Raw = False,
    help: Help = False,
) -> None:
    """Call an operation and print its answer: a table on a terminal, JSON elsewhere.

    Ends with status 1 if it, or an item of its list, was refused, and with 2 if the command itself is wrong.
    """
    if operation is None:
        _list(json=json, help=help)
    elif help:
        describe(operation, json=json)
    else:
        settings = Settings.from_environment()
        application = Application(settings)

        def typed() -> tuple[Wanted, str | None, str | None]:
            view = named(application.table.views, operation)
            sent = body_of(view, file=body, data=data, content_type=content_type)
            asked = wanted(view, parameters or (), key=key, body=sent, paged=every_page)
            return asked, address(url or settings.url), token_of(api_key or settings.key)

        asked, server, token = _or_misused(typed)
        raise SystemExit(_called(application, asked, server, token, tell=(every_page, json)))


def _called(
    application: Application, asked: Wanted, server: str | None, token: str | None, *, tell: tuple[bool, bool]
) -> int:
    """The exit status. ``tell``: all pages, and as JSON."""
    every_page, json = tell
    told = answered.told_all if every_page else answered.told

    async def over(server: str) -> int:
        async with over_http(server, token) as caller:
            return await told(caller, asked, json=json)

    async def within(database: Database) -> int:
        async with application.on(database, token) as caller:
            return await told(caller, asked, json=json)

    return on_database(within) if server is None else running.run(over(server))


@call_app.command
def describe(operation: Annotated[str, Parameter(help="Such as orders.place.")], *, json: Json = False) -> None:
    """What an operation takes and answers: its parameters, the fields of its body, its permission and its refusals."""
    application = Application(Settings.from_environment())
    view = _or_misused(lambda: named(application.table.views, operation))
    found = described(application.app, view)
    show(found, lambda: in_words(found), json=json)


def _list(*, json: bool, help: bool) -> None:
    if help:
        from ordino.cli.commands import app

        app.help_print(["call"])
        return
    views = Application(Settings.from_environment()).table.views

    def table() -> Table:
        table = Table("operation", Column("request", overflow="fold"), Column("what it does", overflow="fold"))
        for view in sorted(views, key=lambda view: view.name):
            table.add_row(view.name, f"{view.method} {view.path}", Text(view.summary))
        return table

    show(views, table, json=json)


def _or_misused(work: Callable[[], T]) -> T:
    """What comes of it. If the command itself is wrong, it ends with a sentence and status 2."""
    try:
        return work()
    except Misused as error:
        print(f"ordino: {error}", file=sys.stderr)
        raise SystemExit(MISUSED) from None
