"""The house holds: who may import whom, and every statement fits the schema. Each rule with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ordino.core.migrations import DIRECTORY, checksums
from ordino.core.statements import Statements

SOURCE = Path(__file__).parent.parent / "src" / "ordino"
LINE = [
    "core", "web", "catalog", "network", "inventory", "sourcing", "orders", "warehouse", "supply", "tracking", "aftercare",
    "insights", "flows", "testing", "connect", "console", "api", "cli",
]  # fmt: skip
EDGES = {"api", "cli", "console"}


def imports() -> Iterator[tuple[str, str, str]]:
    """(file, stage of the file, stage that it imports)"""
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(SOURCE)
        if len(relative.parts) < 2:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                parts = name.split(".")
                if parts[0] == "ordino" and len(parts) > 1 and parts[1] in LINE:
                    yield str(relative), relative.parts[0], parts[1]


def test_every_folder_is_a_stage_of_the_line() -> None:
    """A folder that stands nowhere in the line is bound by no rule."""
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= set(LINE)


def test_a_stage_imports_only_what_stands_before_it() -> None:
    """Otherwise the line becomes a circle, and nothing can be understood or tested alone. Later stages hear of events."""
    wrong = {
        (file, imported)
        for file, stage, imported in imports()
        if LINE.index(imported) > LINE.index(stage) and stage not in EDGES
    }
    assert not wrong


def test_adapters_are_known_to_the_edges_only() -> None:
    """Stages declare what they need; `connect` implements it. A stage that imports an adapter is bound to one vendor."""
    assert not {
        file for file, stage, imported in imports() if imported == "connect" and stage not in EDGES | {"connect"}
    }


def test_nothing_imports_the_edges() -> None:
    """The application, the console and the command line assemble everything; nothing may lean on them."""
    assert not {(file, imported) for file, stage, imported in imports() if imported in EDGES and stage not in EDGES}


def test_only_the_clock_reads_the_wall_clock() -> None:
    """Time is a parameter, so that a year can be replayed in minutes. Durations are measured with monotonic clocks."""
    banned = {"now", "utcnow", "today"}
    wrong = []
    for path in SOURCE.rglob("*.py"):
        relative = str(path.relative_to(SOURCE))
        if relative == "core/clock.py" or relative.startswith("cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            name = (node.value.id, node.attr)
            if name == ("time", "time") or (name[0] in ("datetime", "date") and name[1] in banned):
                wrong.append(f"{relative}:{node.lineno}")
    assert not wrong


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("queries.sql")), ids=lambda path: path.parent.name)
@pytest.mark.parametrize("shards", [False, True], ids=["one", "shards"])
async def test_every_statement_fits_the_schema(path: Path, database_url: str, shards: bool) -> None:
    """A statement that does not even prepare would fail at its first use, with what it says to shards and without."""
    text = path.read_text(encoding="utf-8")  # noqa: ASYNC240
    connection = await asyncpg.connect(database_url)
    try:
        for statement in Statements(re.sub(r"/\* on shards: (.*?) \*/", r"\1", text) if shards else text):
            try:
                await connection.prepare(statement.text)
            except asyncpg.PostgresError as error:
                pytest.fail(f"{path.parent.name}.{statement.name}: {error}")
    finally:
        await connection.close()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("queries.sql")), ids=lambda path: path.parent.name)
def test_every_statement_says_what_it_does(path: Path) -> None:
    """One sentence each: the file is read by people."""
    text = path.read_text(encoding="utf-8")
    blocks = text.split("-- name: ")[1:]
    assert not [block.split("\n")[0] for block in blocks if not block.split("\n")[1].startswith("-- ")]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("queries.sql")), ids=lambda path: path.parent.name)
def test_only_a_stage_writes_its_tables(path: Path) -> None:
    """Whoever reads a stage's queries sees all that can happen to its tables. The queue of reactions is everybody's."""
    import re

    stage = path.parent.name
    text = re.sub(r"^--.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    written = re.findall(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+(?:ONLY\s+)?([a-z]+)\.", text)
    assert set(written) <= {stage}


LANDED = Path(__file__).parent / "landed_revisions.txt"


def test_mig_1_revisions_that_have_landed_stay_as_they_are() -> None:
    """Databases in use were migrated with them: an edit would reach none of these. What a revision lacks is the next one's work."""
    landed = dict(line.split() for line in LANDED.read_text(encoding="utf-8").splitlines())
    now = checksums()
    edited = [revision for revision, checksum in landed.items() if now.get(revision) != checksum]
    assert not edited, f"restore the SQL of {edited}, and write the change as the next revision"
    new = "".join(f"{revision} {now[revision]}\n" for revision in sorted(now.keys() - landed.keys()))
    assert not new, f"add to tests/landed_revisions.txt:\n{new}"


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("versions/[0-9]*.py")), ids=lambda path: path.stem)
def test_a_revision_is_its_sql(path: Path) -> None:
    """Only its SQL has a checksum, so nothing else may be in it."""
    told = ast.unparse(ast.parse(path.read_text(encoding="utf-8")).body[-1])
    assert told == f"def upgrade() -> None:\n    run('{path.stem}.sql')"


def test_kinds_of_jobs_are_imported_in_one_place() -> None:
    """A kind that the server does not import cannot be started, and one that a worker does not import is never done."""
    declare = {
        ".".join(("ordino", *path.relative_to(SOURCE).with_suffix("").parts))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "registry.job"
    }
    imported: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in [alias.name for alias in node.names] if isinstance(node, ast.Import) else ():
                imported.setdefault(name, set()).add(path.relative_to(SOURCE).as_posix())
    assert len(declare) >= 3
    assert [name for name in declare if imported.get(name) != {"api/job_kinds.py"}] == []


STATES_IN_SENTENCES = re.compile(r"(?<!STANDS\[)(?<!LIES\[)(?<!DONE\[)\b(status|state|resolution)\b")


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for stage in ("inventory", "orders", "warehouse", "tracking", "aftercare")
        for path in (SOURCE / stage).rglob("*.py")
    ),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_no_sentence_says_a_state_by_its_code(path: Path) -> None:
    """People read "The transfer is finished.", not "in_transit": a state goes through a table of sentences first."""
    said = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            words = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
            values = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
            if " " in words.strip():
                said += [
                    value
                    for value in values
                    if STATES_IN_SENTENCES.search(value)
                    and not value.isupper()
                    and not re.match(r"(STANDS|LIES|DONE)\[", value)
                ]
    assert said == []
