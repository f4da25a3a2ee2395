"""What callers send to start a job: its kind with its parameters, or rows of any length."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from ordino.api.job_kinds import JOB_KINDS
from ordino.core import jobs
from ordino.core.database import Tx
from ordino.core.errors import Fault, Invalid
from ordino.core.jobs import MOST_DELAY_SECONDS, ROWS_AT_ONCE, JobKind, JobView, NewRow, Nothing, RowOutcome
from ordino.core.keys import refuse_revoked
from ordino.core.rows import Rows
from ordino.core.upserts import pointer_to
from ordino.web.bodies import NO_NUL, TOO_DEEP, decode, holds_nul

MOST_ROWS = 1_000_000
IN_MEMORY_BYTES = 4_000_000
BODY_BYTES = 2**31
"""Bodies have limits of their own before they come here."""
DELAY_SECONDS = 10.0
Delay = Annotated[float, Meta(ge=0, le=MOST_DELAY_SECONDS, description="For so many seconds it can be revoked.")]
_encode = msgspec.json.Encoder().encode


@cache
def job_types() -> dict[str, Any]:
    """Kind -> what POST /v1/jobs takes of it: its parameters beside ``kind``."""
    return {
        name: msgspec.defstruct(
            f"{kind.sent.__name__}Job", [], bases=(kind.sent,), namespace={"__doc__": kind.sentence}, tag_field="kind",
            tag=name, frozen=True, kw_only=True, forbid_unknown_fields=True,
        )
        for name, kind in sorted(JOB_KINDS.items())
    }  # fmt: skip


@cache
def delayed_types() -> dict[str, Any]:
    """Kind -> what POST /v1/delayed_commands takes of it."""
    return {
        name: msgspec.defstruct(
            f"Delayed{kind.sent.__name__}", [("parameters", kind.sent), ("delay_seconds", Delay, DELAY_SECONDS)],
            namespace={"__doc__": kind.sentence}, tag_field="kind", tag=name, frozen=True, kw_only=True,
            forbid_unknown_fields=True,
        )
        for name, kind in sorted(JOB_KINDS.items())
        if kind.may_be_delayed
    }  # fmt: skip


def read_job(body: bytes, types: Mapping[str, Any]) -> tuple[JobKind, Any]:
    """The kind, and what is sent of it. Raises ``Invalid``, which points to what is wrong."""
    try:
        sent = msgspec.json.decode(body)
    except RecursionError as error:
        raise Invalid(TOO_DEEP, faults=[Fault("", TOO_DEEP)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is not JSON: {error}.", faults=[Fault("", str(error))]) from error
    if not isinstance(sent, dict):
        detail = "Send one object, with the `kind` of the job and its parameters."
        raise Invalid(detail, faults=[Fault("", detail)])
    name = sent.get("kind")
    if not isinstance(name, str) or name not in types:
        raise _no_kind(sent, types)
    kind = JOB_KINDS[name]
    decoded = decode(body, msgspec.json.Decoder(types[name]), most_bytes=BODY_BYTES)
    if isinstance(decoded, kind.sent):  # without its tag, which is not kept
        decoded = kind.sent(**{field: getattr(decoded, field) for field in kind.sent.__struct_fields__})
    return kind, decoded


def _no_kind(sent: dict[str, Any], types: Mapping[str, Any]) -> Invalid:
    said = f"There is no kind {sent['kind']!r}" if "kind" in sent else "The field 'kind' is missing"
    detail = f"{said[:200]}; send one of {', '.join(types)}."
    known = {"kind", *(field.encode_name for type_ in types.values() for field in msgspec.structs.fields(type_))}
    unknown = [
        Fault(pointer_to(name), f"There is no field {name!r} here; correct its name, or leave it out.")
        for name in sent
        if name not in known
    ]
    return Invalid(detail, faults=[Fault("/kind", detail), *unknown])


class Uploaded:
    """Rows of a body of any length, each with its line, kept in a file until all of them are there: a body that breaks off starts
    nothing.
    """

    def __init__(self, kind: JobKind) -> None:
        assert kind.uploaded is not None, "rows of this kind can be uploaded"
        self.kind = kind
        self.make = kind.uploaded
        self.rows = self.refused = 0
        self._digest = blake2b(digest_size=16)
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - it is closed with this object

    async def read(self, rows: Rows) -> None:
        """Raises ``Invalid`` where the body cannot be read on, is empty, or has too many rows."""
        async for line, found in rows:
            self.rows += 1
            if self.rows > MOST_ROWS:
                raise Invalid(f"A job has at most {MOST_ROWS:,} rows; send them in several jobs.")
            if isinstance(found, Fault):
                self.refused += 1
                refusal = RowOutcome(code="invalid", detail=found.detail, pointer=found.pointer)
                row = NewRow(row_no=line, subject=f"line {line}", refused=refusal)
            else:
                row = self.make(line, found)
                self.refused += row.refused is not None
                if row.input is not None and holds_nul(row.input.encode()):
                    self.refused += 1
                    refusal = RowOutcome(code="invalid", detail=NO_NUL)
                    row = NewRow(row_no=line, subject=row.subject, refused=refusal)
            written = _encode(row) + b"\n"
            self._digest.update(written)
            self._file.write(written)
        if not self.rows:
            raise Invalid("The body holds no rows; send one JSON object a line.")

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    async def start(self, tx: Tx, key_id: UUID | None = None) -> JobView:
        """A job with all of these rows, by the caller's key if there is one."""
        job_id = await jobs.begin(tx, self.kind, Nothing(), key_id=key_id)
        decoder, some = msgspec.json.Decoder(NewRow), []
        self._file.seek(0)
        for written in self._file:
            some.append(decoder.decode(written))
            if len(some) == ROWS_AT_ONCE:
                await jobs.add_rows(tx, job_id, some)
                some.clear()
        await jobs.add_rows(tx, job_id, some)
        await jobs.sql.count_job_rows(tx, job_id=job_id, total=self.rows, done=self.refused)
        found = await jobs.job(tx, job_id)
        await refuse_revoked(tx, key_id)
        return found

    def close(self) -> None:
        self._file.close()
