"""What can be set from outside: one frozen value, read once from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from ordino.core.errors import OrdinoError

PREFIX = "ORDINO_"

AtLeastOne = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0, le=10_000)]
Seconds = Annotated[float, Meta(ge=0.001, le=86_400)]


class BadSetting(OrdinoError):
    """A variable holds what it may not; the message names it and says what fits."""

    def __init__(self, variable: str, value: str, reason: str) -> None:
        super().__init__(f"{variable}={value!r} does not fit: {reason}.")
        self.variable = variable
        self.value = value


class Documented(NamedTuple):
    """One row of the table of settings."""

    variable: str
    default: str
    sentence: str


def default_data_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where data lies unless told otherwise: /var/lib/ordino for root, else the XDG data home."""
    environment = os.environ if environment is None else environment
    if os.geteuid() == 0:
        return Path("/var/lib/ordino")
    home = environment.get("XDG_DATA_HOME", "")
    # The XDG base directory specification says to ignore relative paths.
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "ordino"


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that a run of Ordino can be told; units are in the names."""

    database_url: Annotated[
        Annotated[str, Meta(pattern="^postgres(ql)?://")] | None,
        Meta(description="The PostgreSQL to use; without it an embedded one is started."),
    ] = None
    data_directory: Annotated[
        Path,
        Meta(description="Where the embedded PostgreSQL keeps its data; for root, /var/lib/ordino by default."),
    ] = msgspec.field(default_factory=default_data_directory)
    host: Annotated[str, Meta(description="The address that the HTTP server listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="The port that the HTTP server listens on.")] = 8000
    allowed_hosts: Annotated[
        str | None,
        Meta(
            description="Names by which the server may be called, separated by commas; without them, while there is no API key, "
            "only those of the loopback and the address that it listens on."
        ),
    ] = None
    trusted_proxies: Annotated[
        str | None,
        Meta(
            description="Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For`, `X-Forwarded-Host` and "
            "`Forwarded` headers are believed."
        ),
    ] = None
    processes: Annotated[AtLeastOne, Meta(description="How many HTTP server processes are started.")] = 2
    pool_size: Annotated[AtLeastOne, Meta(description="How many database connections each process opens at most.")] = 8
    statement_timeout_seconds: Annotated[
        Seconds, Meta(description="How long one SQL statement may run before it is stopped.")
    ] = 30.0
    lock_timeout_seconds: Annotated[Seconds, Meta(description="How long one SQL statement may wait for a lock.")] = 5.0
    connect_timeout_seconds: Annotated[
        Seconds, Meta(description="How long opening a connection to the database may take.")
    ] = 5.0
    acquire_timeout_seconds: Annotated[
        Seconds, Meta(description="How long a request waits for one of its process's database connections.")
    ] = 15.0
    batch_timeout_seconds: Annotated[
        Seconds,
        Meta(description="How long a batch of requests may take before it is undone and its callers are told so."),
    ] = 15.0
    idle_timeout_seconds: Annotated[
        Seconds,
        Meta(
            description="How long an open transaction may be idle before the database ends it and releases its locks."
        ),
    ] = 60.0
    batch_size: Annotated[
        AtLeastOne, Meta(description="How many concurrent requests are carried out as one batch at most.")
    ] = 256
    queue_size: Annotated[
        AtLeastOne,
        Meta(description="How many requests may wait for a batch before callers are made to wait."),
    ] = 10_000
    body_limit_bytes: Annotated[
        AtLeastOne, Meta(description="The largest request body that is read; larger ones are refused.")
    ] = 10_000_000
    body_wait_seconds: Annotated[
        Seconds, Meta(description="How long a request's body may pause before the request is given up.")
    ] = 30.0
    body_bytes_a_second: Annotated[
        AtLeastOne,
        Meta(
            description="How fast a request's body has to come on average, beyond the seconds of ORDINO_BODY_WAIT_SECONDS; a "
            "slower request is given up."
        ),
    ] = 500
    feed_ratio: Annotated[
        AtLeastOne,
        Meta(description="How many times its size a gzipped feed may unpack to, beyond the first 10,000,000 bytes."),
    ] = 200
    feed_waste_lines: Annotated[
        AtLeastOne,
        Meta(description="How many lines of a feed may be blank or unreadable, beyond as many as hold rows."),
    ] = 100_000
    feed_directory: Annotated[
        Path | None,
        Meta(description="A folder that workers watch for feeds: files dropped into its `incoming` are taken in."),
    ] = None
    reevaluate_minutes: Annotated[
        NotNegative,
        Meta(description="How often workers decide orders anew that are not released yet; 0: never."),
    ] = 15
    worker_batch_size: Annotated[
        AtLeastOne, Meta(description="How many reactions of one kind a worker claims at once at most.")
    ] = 500
    worker_lanes: Annotated[
        AtLeastOne,
        Meta(description="How many kinds of reactions a worker runs side by side, each on a connection of its own."),
    ] = 4
    worker_poll_seconds: Annotated[
        Seconds, Meta(description="How long an idle worker waits before it looks for due reactions again.")
    ] = 0.2
    lease_seconds: Annotated[
        Annotated[float, Meta(ge=5, le=3600)],
        Meta(
            description="How long after a worker is lost others take up its calls to providers and mail servers; a worker that is "
            "there renews its leases every third of that, however long a call takes."
        ),
    ] = 60.0
    effects: Annotated[
        str | None,
        Meta(
            description="Which calls to providers and mail servers a worker takes, separated by commas, such as "
            "`authorize,capture`; `none` for reactions only; without it all that it is configured for."
        ),
    ] = None
    call_limits: Annotated[
        str | None,
        Meta(
            description="How many calls to a payment or message provider run side by side, and how many begin in a second, in each "
            "worker: `acme=8/20,smtp=4`, by the names of `ordino adapters`; without it what the adapter says."
        ),
    ] = None
    job_lanes: Annotated[AtLeastOne, Meta(description="How many jobs a worker runs side by side at most.")] = 4
    job_lease_seconds: Annotated[
        Seconds,
        Meta(
            description="How long a job or a piece of recurring work stays with a worker that no longer answers; a worker at work "
            "renews this lease."
        ),
    ] = 30.0
    job_days: Annotated[
        AtLeastOne, Meta(description="For how many days a job that is over is kept, with its rows and its result.")
    ] = 30
    max_attempts: Annotated[
        AtLeastOne, Meta(description="How often a reaction is tried before it goes to the dead-letter list.")
    ] = 12
    idempotency_days: Annotated[
        AtLeastOne,
        Meta(description="For how many days a repeat with the same Idempotency-Key gets the first answer at least."),
    ] = 7
    message_provider: Annotated[str, Meta(description="The message provider that messages to customers leave by.")] = (
        "smtp"
    )
    channel_directory: Annotated[
        Path | None,
        Meta(description="The folder of the channel `files`: it holds `orders` and `news`."),
    ] = None
    carrier_directory: Annotated[
        Path | None,
        Meta(description="The folder of the carrier `files`: it holds `bookings`, `cancellations` and `events`."),
    ] = None
    smtp_url: Annotated[
        Annotated[str, Meta(pattern="^smtps?://")] | None,
        Meta(
            description="The mail server, smtp://user:password@host:587 or smtps://…; a worker without it sends no messages, and "
            "leaves them to others."
        ),
    ] = None
    smtp_ca_file: Annotated[
        Path | None,
        Meta(
            description="A PEM file with certificates of authorities that may have signed the mail server's certificate, "
            "beside those that the machine trusts."
        ),
    ] = None
    smtp_sender: Annotated[str, Meta(description="The address that messages to customers come from.")] = (
        "orders@localhost"
    )

    url: Annotated[
        Annotated[str, Meta(pattern="^https?://")] | None,
        Meta(
            description="The server that `ordino call` calls, such as https://oms.example; without it, the command works on the "
            "database itself."
        ),
    ] = None
    key: Annotated[
        str | None,
        Meta(description="The API key with which `ordino call` calls; it is sent to the server of ORDINO_URL."),
    ] = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read every ``ORDINO_*`` variable; an empty one counts as unset.

        Raises ``BadSetting``, which names the variable, for a value that does not fit.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {"data_directory": default_data_directory(environment)}
        for field, kind in _fields():
            variable = PREFIX + field.upper()
            value = environment.get(variable, "").strip()
            if value:
                values[field] = _read(variable, value, kind)
        return cls(**values)


def describe() -> list[Documented]:
    """Every setting: the variable, its default, and what it means, in one sentence."""
    rows = []
    defaults = {field.name: field for field in msgspec.structs.fields(Settings)}
    for name, kind in _fields():
        default = defaults[name].default
        shown = "none" if default is None else str(default)
        if name == "data_directory":
            shown = "~/.local/share/ordino"
        sentences = [meta.description for meta in _metas(kind) if meta.description]
        rows.append(Documented(PREFIX + name.upper(), shown, sentences[-1]))
    return rows


def _fields() -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(Settings, include_extras=True)
    return ((name, hints[name]) for name in Settings.__struct_fields__)


def _metas(kind: Any) -> list[Meta]:
    return [part for part in get_args(kind)[1:] if isinstance(part, Meta)] if get_origin(kind) else []


def _read(variable: str, value: str, kind: Any) -> Any:
    if get_args(kind)[0] in (Path, Path | None):
        try:
            return Path(value).expanduser().absolute()
        except RuntimeError:
            raise BadSetting(variable, value, "there is no such user's home directory") from None
    try:
        read = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        raise BadSetting(variable, _hide_password(value), _expected(kind)) from None
    if isinstance(read, str) and "://" in read and not _hosts_can_be_read(read):
        reason = (
            "its host and port cannot be read; characters such as @ : / # in a password are written as %40 %3A %2F %23"
        )
        raise BadSetting(variable, _hide_password(value), reason)
    return read


def _hosts_can_be_read(url: str) -> bool:
    """A URL of PostgreSQL may name several hosts, each with a port."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
        for host in hosts:
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return False
    return True


def _expected(kind: Any) -> str:
    base, metas = get_args(kind)[0], _metas(kind)
    if base not in (int, float):
        scheme = next(word for word in ("smtp", "postgresql", "http") if word[:8] in str(kind))
        return f"a URL that begins with {scheme}:// is expected"
    number = "a whole number" if base is int else "a number"
    low = max((meta.ge for meta in metas if meta.ge is not None), default=None)
    high = min((meta.le for meta in metas if meta.le is not None), default=None)
    return f"{number} {f'from {low} to {high}' if high else f'of at least {low}'} is expected"


def _hide_password(value: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", value)
