"""The pages of the documentation: what stands in them, and a reader who types their examples."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from processes import running

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LASTS = re.compile(r"ordino (work|serve|up)\b(?!.*--help)")
CODE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
END = "the example has ended"
SERVER = re.compile(r"\b(127\.0\.0\.1|localhost):8000\b")
Happens = Callable[[], Awaitable[Any]]
CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}|\d{4}-\d\d-\d\d(T.*)?|[\w-]{28}")
"""What is another one each time: ids, dates and cursors."""


class Block(NamedTuple):
    """A piece of code in a page: its language and where it begins."""

    language: str
    text: str
    line: int


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The page's code, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[2], textwrap.dedent(found[3]), text.count("\n", 0, found.start()) + 1)
        for found in CODE.finditer(text)
    ]


def sentences(page: Path) -> str:
    """The page without its code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def commands(shell: str) -> list[str]:
    """The commands of a shell example, however many lines each takes."""
    found, begun = [], ""
    for line in shell.splitlines():
        begun += line + "\n"
        if begun.strip() and not line.endswith(("\\", "|")) and _is_whole(begun):
            found.append(begun.strip("\n"))
            begun = ""
    assert not begun.strip(), f"this example does not end: {begun}"
    return found


def _is_whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:  # a quotation that goes on
        return False
    return True


class Reader:
    """Types the examples of pages into one shell, against one server.

    ``stand_ins`` are the words of examples that are other ones each time, such as the id of an order, with the real ones. The names
    that ``learned`` has for them are where the answers tell the real ones: ``fulfillment_order_ids.0`` is the first of a list.
    """

    def __init__(self, url: str, port: int, home: Path) -> None:
        self.stand_ins: dict[str, str] = {}
        self.learned: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        self.last = ""
        self.url, self._port, self._home = url, port, home
        assert shutil.which("curl"), "the examples call the server with curl: install it"
        self.save(".curlrc", "silent\nshow-error\n")  # no bar: the reader's answers are not shown on a terminal
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {
            "PATH": path, "HOME": str(home), "COLUMNS": "250", "ORDINO_PORT": str(port), "ORDINO_DATABASE_URL": url
        }  # fmt: skip
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=home,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def close(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()

    def save(self, name: str, text: str) -> None:
        """A file that an example reads."""
        (self._home / name).write_text(text)

    async def follow(self, page: str, *, before: Mapping[str, Happens] = {}, until: str = END) -> None:
        """Type all shell examples of a page, and compare the answers that it shows. Before a command in which a word of ``before``
        stands, something else happens first; one with ``until`` is not typed any more.
        """
        self.last = ""
        for block in blocks(ROOT / page):
            where = f"{page}:{block.line}"
            if block.language == "sh":
                for command in commands(block.text):
                    if until in command:
                        return
                    for happens in [happens for word, happens in before.items() if word in command]:
                        await happens()
                    await self.type(command, where)
            elif block.language == "json" and (answer := _read(self.last)) is not None:
                self._same(json.loads(block.text), answer, where)
                self.last = ""  # what else the page shows are requests

    async def type(self, command: str, where: str = "a test") -> Any:
        """Type one command. It has to succeed, and nothing that it shows may be a refusal. Returns what it shows, read as JSON if it is."""
        for word, real in self.stand_ins.items():
            command = command.replace(word, real)
        command = SERVER.sub(rf"\1:{self._port}", command)
        status = await self._last_long(command) if LASTS.match(command) else self._run(command)
        assert status == 0, f"{where}: {command}\n{self.last}"
        assert "urn:ordino:problem" not in self.last, f"{where}: {command}\n{self.last}"
        self.shown[command] = self.last
        answer = _read(self.last)
        for word, place in self.learned.items():
            if (real := _at(answer, place.split("."))) is not None:
                self.stand_ins[word] = real
        return self.last if answer is None else answer

    def _same(self, shown: Any, answered: Any, where: str) -> None:
        """The answer that a page shows is the one that its reader gets, but for ids, dates and cursors."""
        if isinstance(shown, dict):
            assert isinstance(answered, dict), f"{where}: {answered}"
            assert list(shown) == list(answered), f"{where}: the fields of the answer are {list(answered)}"
            for name, value in shown.items():
                self._same(value, answered[name], f"{where}, {name}")
        elif isinstance(shown, list):
            assert isinstance(answered, list), f"{where}: {answered}"
            assert len(shown) == len(answered), f"{where}: the answer is {answered}"
            for one, other in zip(shown, answered, strict=True):
                self._same(one, other, where)
        elif isinstance(shown, str) and (CHANGING.fullmatch(shown) or shown in self.learned):
            assert isinstance(answered, str), f"{where}: {answered}"
            assert CHANGING.fullmatch(answered), f"{where}: {answered}"
        else:
            assert shown == answered, where

    def _run(self, command: str) -> int:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nended=$?; echo; echo {END} $ended\n")
        self._shell.stdin.flush()
        said = []
        for line in self._shell.stdout:
            if line.startswith(END):
                self.last = "".join(said).strip()
                return int(line.split()[-1])
            said.append(line)
        raise AssertionError(f"the shell ended at: {command}")

    async def _last_long(self, command: str) -> int:
        """A command that lasts: it has to start, and to end when it is told to."""
        words, output = shlex.split(command, comments=True)[1:], self._home / "output"
        output.unlink(missing_ok=True)
        with running(*words, output=output, port=self._port, **self._environment) as lasting:
            await lasting.until("said what it takes", lambda: "This worker takes" in lasting.said())
            status = await lasting.stop()
            self.last = lasting.said()
            return status


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _at(answer: Any, place: list[str]) -> str | None:
    for name in place:
        if isinstance(answer, list) and name.isdigit() and int(name) < len(answer):
            answer = answer[int(name)]
        elif isinstance(answer, dict) and name in answer:
            answer = answer[name]
        else:
            return None
    return answer if isinstance(answer, str) else None
