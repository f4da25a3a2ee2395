"""Pages of ``docs/`` that the code knows better than people: ``python -m ordino.cli.reference docs`` writes them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ordino.api.server import load_stages
from ordino.core import jobs
from ordino.core.events import Step
from ordino.core.payloads import KINDS, EventKind, event_kinds
from ordino.core.settings import Settings, describe
from ordino.flows.document import packaged, parse
from ordino.flows.versions import vocabulary
from ordino.orders import model as orders
from ordino.tracking import model as tracking
from ordino.warehouse import model as warehouse
from ordino.web.operations import OperationView, Table

_DERIVED = re.compile(
    r"^CREATE TABLE (\w+\.\w+) \((?:(?!^\)).)*?^    status text NOT NULL GENERATED ALWAYS AS \(CASE\n(.*?) END\) STORED",
    re.MULTILINE | re.DOTALL,
)
LINE = ("inventory", "orders", "warehouse", "tracking", "aftercare")
"""The stages that write events, in the order of their line."""
_MADE = "<!-- Made by `python -m ordino.cli.reference docs`; a test compares. -->"


def states() -> str:
    """``docs/states.md``: what can be in which state, and what follows what."""
    parts = [
        "# States, and what follows what\n",
        _MADE,
        "\nUnits, fulfillment orders, parcels and jobs leave a state by one of its exits and by no other: the verbs assert it, "
        "and of units and jobs a constraint of the database, too.\n",
    ]
    for title, exits in (
        ("A unit of an order line", orders.EXITS),
        ("A fulfillment order", warehouse.EXITS),
        ("A parcel", tracking.EXITS),
        ("A job", jobs.EXITS),
    ):
        parts.append(f"## {title}\n\n{_diagram(exits)}\n")
    parts.append(
        "## Statuses\n\nNobody writes a status. The database generates it from the counts or instants beside it; the first line "
        "that holds gives it.\n"
    )
    schema = files("ordino").joinpath("schema.sql").read_text(encoding="utf-8")
    parts += [f"### `{table}`\n\n{_cases(cases)}\n" for table, cases in _DERIVED.findall(schema)]
    load_stages()
    plan = parse(packaged(), vocabulary()).plan
    parts.append(
        "## Events\n\nWhat a flow may name, and what follows under the packaged one, `flows/home_delivery.yaml`. "
        "[events.md](events.md) lists their facts.\n\n"
        "| event | what it says | what follows |\n|---|---|---|"
    )
    parts += [
        f"| `{kind}` | {said} | {', '.join(map(_step, plan.get(kind, ())))} |"
        for kind, said in sorted((kind, one.sentence) for kind, one in KINDS.items())
    ]
    return "\n".join(parts) + "\n"


def events() -> str:
    """``docs/events.md``: every kind of event, and its facts."""
    load_stages()
    kinds = event_kinds()
    stages = list(dict.fromkeys(one.stage for one in sorted(kinds, key=lambda one: LINE.index(one.stage))))
    parts = [
        "# Events\n",
        _MADE,
        "\n`GET /v1/event_kinds` and `ordino events kinds --json` answer with the same, and with a JSON Schema of each kind. "
        "[howto/follow-events.md](howto/follow-events.md) says how to read events.\n",
        "An event's `data` holds these fields. A field that is not *always* there is left out where it has nothing to say. "
        "Instants are ISO 8601 with an offset, amounts are integers in minor units (cents), and UUIDs are strings. Ignore "
        "fields that you do not know: later versions of Ordino may add some. A kind whose fields change their meaning gets "
        "a new version, and its events then have the field `event_version`; without it, an event is of version 1.\n",
    ]
    for stage in stages:
        parts.append(f"## {stage.capitalize()}\n")
        for one in kinds:
            if one.stage == stage:
                parts.append(f"### `{one.kind}`\n\n{one.sentence} Version {one.version}.\n\n{_facts(one)}\n")
    return "\n".join(parts)


def _facts(one: EventKind) -> str:
    if not one.fields:
        return "It has no facts."
    rows = [
        f"| `{field.name}` | {field.type} | {'yes' if field.always else 'no'} | {field.description} |"
        for field in one.fields
    ]
    return "\n".join(["| field | type | always | what it is |", "|---|---|---|---|", *rows])


def settings() -> str:
    """``docs/settings.md``: every variable."""
    rows = [f"| `{row.variable}` | {row.default} | {row.sentence} |" for row in describe()]
    return "\n".join(
        [
            "# Settings\n",
            _MADE,
            "\nRead once from the environment; an empty variable counts as unset.\n",
            "| variable | default | meaning |\n|---|---|---|",
            *rows,
            "",
        ]
    )


def operations() -> str:
    """``docs/operations.md``: every operation, and every permission."""
    from ordino.api.app import build
    from ordino.api.operations import permissions
    from ordino.core.permissions import ROLES

    async def no_database() -> None:
        """The application is only looked at."""

    table: Table = build(no_database, Settings()).state.operations
    parts = [
        "# Operations and permissions\n",
        _MADE,
        "\n`GET /v1/operations` answers with the same table, and `ordino call NAME` calls each from the command line "
        "([cli.md](cli.md)). Each operation needs all permissions of its row. Personal data are "
        "names, addresses, messages and notes. [access.md](access.md) says what narrowed keys are held to.\n",
        "## Permissions\n\nA permission allows what it says and nothing else. A role is a set of them.\n",
        f"| permission | what it allows | {' | '.join(f'`{role}`' for role in ROLES)} |",
        f"|---|---|{'---|' * len(ROLES)}",
        *(
            f"| `{one.permission}` | {one.meaning} | {' | '.join('yes' if role in one.roles else '' for role in ROLES)} |"
            for one in permissions()
        ),
        "\n## Operations\n",
        "| operation | request | permissions | narrowed by | body | answer | refusals |\n|---|---|---|---|---|---|---|",
        *(_operation(view) for view in table.views),
    ]
    return "\n".join(parts) + "\n"


def _operation(view: OperationView) -> str:
    needs = "no key" if view.keyless else ", ".join(f"`{one}`" for one in view.permissions) or "any key"
    refusals = ", ".join(f"`{one.code}` {one.status}" for one in view.refusals)
    body = (view.body or "").replace("|", "or")
    answer = view.outcome.replace(" | ", ", ")
    what = f"`{view.name}`: {view.summary} | `{view.method} {view.path}`"
    return f"| {what} | {needs} | {view.narrowed_by} | {body} | {answer} | {refusals} |"


PAGES = {"states.md": states, "events.md": events, "settings.md": settings, "operations.md": operations}


def _diagram(exits: Mapping[Any, frozenset[Any]]) -> str:
    """A Mermaid state diagram, states in the order of their enum."""
    order = list(exits)
    begin = [f"    [*] --> {order[0]}"]
    lines = [f"    {state} --> {exit}" for state in order for exit in sorted(exits[state], key=order.index)]
    ends = [f"    {state} --> [*]" for state in order if not exits[state]]
    return "\n".join(["```mermaid", "stateDiagram-v2", *begin, *lines, *ends, "```"])


def _cases(cases: str) -> str:
    pairs = re.findall(r"WHEN (.+?) THEN '(\w+)'", cases)
    [rest] = re.findall(r"ELSE '(\w+)'", cases)
    return "\n".join(
        [
            "| status | when |",
            "|---|---|",
            *(f"| {status} | `{when}` |" for when, status in pairs),
            f"| {rest} | else |",
        ]
    )


def _step(step: Step) -> str:
    options = ", ".join(str(value) for value in step.options.values())
    told = f"`{step.reaction}`" + (f" ({options})" if options else "")
    for seconds, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if step.after_seconds and step.after_seconds % seconds == 0:
            return f"{told} after {step.after_seconds // seconds} {unit}"
    return told


if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page(), encoding="utf-8")
