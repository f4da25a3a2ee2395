"""The PostgreSQL that comes with Ordino: started and stopped with the command, kept in one directory.

    <data directory>/
      lock              held by the run that uses the directory; names its process, its URL and its command
      postgres/         the cluster
      postgres.conf     written anew at every start; `ALTER SYSTEM` still has the last word
      postgres.log      what the server said since it was started
      socket/           the only door: no TCP, and nobody but the owner (and root) may enter
      binaries/         a copy of the server's programs, where its user cannot reach the installed ones

PostgreSQL refuses to run as root. There it runs as the system user ``ordino`` (or ``nobody``), and every
directory above the data directory keeps the permissions that it has.

    EmbeddedError
    ├── DirectoryInUse        another run holds the data directory
    ├── DirectoryUnusable     it cannot be written, or the server's user cannot reach it
    ├── DiskFull              too little room to start safely
    └── StartFailed           the server did not come up; carries the last lines of its log
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil

from ordino.core.embedded.account import Account, account_for
from ordino.core.embedded.configuration import PORT, configuration
from ordino.core.embedded.errors import ROOM_BYTES, DirectoryUnusable, DiskFull, EmbeddedError, StartFailed
from ordino.core.embedded.lock import DirectoryInUse, Holder, Lock, holder_of
from ordino.core.embedded.processes import end, stop_leftovers
from ordino.core.embedded.programs import Programs, programs_for

__all__ = [
    "START_SECONDS",
    "DirectoryInUse",
    "DirectoryUnusable",
    "DiskFull",
    "EmbeddedError",
    "EmbeddedPostgres",
    "Holder",
    "StartFailed",
    "holder_of",
]

DATABASE = "ordino"
SUPERUSER = "ordino"

# Recovery after a crash reads up to max_wal_size. To give up on a server that is alive would only begin it anew.
START_SECONDS = 900.0
SLOW_SECONDS = 10.0
LOG_LINES = 20

# Linux takes socket paths of 107 bytes, macOS of 103.
_LONGEST_SOCKET = 103

log = logging.getLogger("ordino.embedded")


class EmbeddedPostgres:
    """One cluster in one data directory, for as long as the ``with`` block lasts.

    ``url`` serves asyncpg, and SQLAlchemy once its scheme is exchanged. ``overrides`` are PostgreSQL settings
    that replace the ones chosen here. A killed server recovers at the next start, and one that was left
    running by a killed Ordino is stopped first. ``command`` tells others who holds the directory. With ``anew``, what
    an earlier run left in the cluster is deleted first. With ``untold``, others learn the URL from ``tell`` on, once
    the database is what they expect.
    """

    def __init__(
        self,
        data_directory: Path,
        overrides: Mapping[str, str] | None = None,
        *,
        command: str = "another command",
        anew: bool = False,
        untold: bool = False,
    ) -> None:
        self.command = command
        self.anew = anew
        self.untold = untold
        self.directory = data_directory.expanduser().absolute()
        self.cluster = self.directory / "postgres"
        self.log = self.directory / "postgres.log"
        self._overrides = dict(overrides or {})
        self._lock: Lock | None = None
        self._owner = 0
        self._account: Account | None = None
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False
        # One thread at a time starts or stops; a stop ends a start that is under way.
        self._turn = threading.RLock()

    @property
    def url(self) -> str:
        assert self._socket is not None, "the embedded PostgreSQL is not started"
        return _url(self._socket)

    @property
    def pid(self) -> int | None:
        """The server's process, or None when it is not running."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring the server up and wait until it accepts connections; raises an ``EmbeddedError``."""
        self._ending = False
        try:
            self._start()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise self._in_words(error) from error
            raise

    def restart(self) -> None:
        """Start a server again that ended by itself, and recover; its URL stays. No effect while it runs or is stopped.

        Raises an ``EmbeddedError``, and may be called again then.
        """
        with self._turn:
            if self._ending or self._socket is None or self.pid is not None:
                return
            try:
                self._refuse_full_disk()
                stop_leftovers(self.cluster)
                for left in self._socket.iterdir():
                    left.unlink()
                self._launch(programs_for(self.directory, self._account))
            except BaseException as error:
                self._end_process()
                if isinstance(error, OSError):
                    raise self._in_words(error) from error
                raise

    def stop(self) -> None:
        """Shut down cleanly and let go of the directory; safe to repeat, no effect in a forked child."""
        if self._owner != os.getpid():
            return
        self._ending = True
        with self._turn:
            self._stop()

    def _end_process(self) -> None:
        if self._process is not None:
            end(psutil.Process(self._process.pid) if self.pid else None)
            self._process.wait()
            self._process = None

    def _stop(self) -> None:
        self._end_process()
        if self._socket is not None and self._socket.parent != self.directory:
            shutil.rmtree(self._socket, ignore_errors=True)
        self._socket = None
        if self._lock is not None:
            self._lock.let_go()
            self._lock = None

    def _start(self) -> None:
        assert self._process is None, "the embedded PostgreSQL is started already"
        self._owner = os.getpid()
        _make_directories(self.directory)
        self._lock = Lock(self.directory, self.command)
        self._lock.tell("")
        self._refuse_full_disk()
        self._account = account_for(self.cluster)
        if self._account is not None:
            self._account.refuse_out_of_reach(self.directory)
        programs = programs_for(self.directory, self._account)
        stop_leftovers(self.cluster)
        if self.anew:
            shutil.rmtree(self.cluster, ignore_errors=True)
        self._socket = self._make_socket_directory()
        if not self.cluster.exists():
            self._initialize(programs)
        self._write_configuration()
        self._launch(programs)
        if not self.untold:
            self.tell()

    def tell(self) -> None:
        """From now on, other commands use this server, too."""
        assert self._lock is not None, "the embedded PostgreSQL is not started"
        self._lock.tell(self.url)

    def _refuse_full_disk(self) -> None:
        if shutil.disk_usage(self.directory).free < ROOM_BYTES:
            raise DiskFull(self.directory)

    def _make_socket_directory(self) -> Path:
        directory = self.directory / "socket"
        if len(os.fsencode(directory / f".s.PGSQL.{PORT}")) > _LONGEST_SOCKET:
            directory = Path(tempfile.mkdtemp(prefix="ordino-", dir="/tmp"))
        else:
            if directory.exists():
                shutil.rmtree(directory)
            directory.mkdir(mode=0o700)
        self._hand_over(directory)
        return directory

    def _initialize(self, programs: Programs) -> None:
        """Make cluster and database beside their place, then move them there: all of it, or nothing."""
        draft = self.directory / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._hand_over(draft)
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth-local=trust", "--auth-host=reject", f"--username={SUPERUSER}"]
        self._must(programs.run("initdb", f"--pgdata={draft}", *locale, *access, cwd=draft))
        create = f"CREATE DATABASE {DATABASE}\n".encode()
        self._must(programs.run("postgres", "--single", "-D", str(draft), "template1", cwd=draft, stdin=create))
        draft.rename(self.cluster)

    def _must(self, done: subprocess.CompletedProcess[bytes]) -> None:
        said = done.stdout.decode(errors="replace")
        # In single-user mode an error is only printed.
        if done.returncode != 0 or "ERROR:" in said:
            raise self._failure(said)

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _write_configuration(self) -> None:
        chosen = configuration() | {"unix_socket_directories": str(self._socket)} | self._overrides
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in chosen.items()]
        _write_whole(self.directory / "postgres.conf", "".join(lines))

    def _launch(self, programs: Programs) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.previous"))
        with open(self.log, "xb", opener=_private) as output:
            self._process = programs.start(
                "postgres",
                *("-D", str(self.cluster), "-c", f"config_file={self.directory / 'postgres.conf'}"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.cluster,
                umask=0o077,
                # Ctrl-C goes to the command, which then stops the server in order.
                start_new_session=True,
            )
        probe = ("-q", "-h", str(self._socket), "-p", str(PORT), "-d", DATABASE)
        started = time.monotonic()
        told = False
        while programs.run("pg_isready", *probe).returncode != 0:
            seconds = time.monotonic() - started
            if self.pid is None or self._ending or seconds > START_SECONDS:
                raise self._failure(self.log.read_text(errors="replace"))
            if seconds > SLOW_SECONDS and not told:
                told = True
                log.warning("PostgreSQL takes long to start, as after a crash. Ordino waits; its log is %s.", self.log)
            time.sleep(0.02)

    def _failure(self, said: str) -> EmbeddedError:
        if os.strerror(errno.ENOSPC) in said:
            return DiskFull(self.directory)
        last = "\n".join(said.strip().splitlines()[-LOG_LINES:])
        return StartFailed(f"PostgreSQL did not start in {self.directory}. It said:\n{last}")

    def _in_words(self, error: OSError) -> EmbeddedError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull(self.directory)
        return DirectoryUnusable(
            f"{self.directory} cannot be used: {error.strerror or error}. Choose another directory with ORDINO_DATA_DIRECTORY."
        )


def _url(socket: Path) -> str:
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(socket))}&port={PORT}"


def _make_directories(directory: Path) -> None:
    """Make what is missing. As root the server's user must get through; what exists stays as it is."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        path.chmod(0o755 if os.geteuid() == 0 else 0o700)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with draft.open("x") as file:
        file.write(text)
    draft.chmod(0o644)
    draft.replace(path)
