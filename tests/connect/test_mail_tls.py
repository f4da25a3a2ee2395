"""Mail over TLS: who a mail server is, is checked, and nobody else is told a password or a message."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from ordino.aftercare.providers import OutgoingMessage
from ordino.connect.mail import smtp
from ordino.connect.mail.smtp import Server, deliver, server_of
from ordino.core.errors import AccountUnavailable
from ordino.core.settings import BadSetting, Settings

HERE = Path(__file__).parent / "certificates"
AUTHORITY = HERE / "authority.pem"
"""It has signed a certificate for `localhost`, and for no other name."""


class Box:
    """What a mail server was told."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.passwords: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.letters.append(envelope.content)
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.passwords.append(data.password)
        return AuthResult(success=True)


@asynccontextmanager
async def listening(box: Box, *, at_once: bool = False, offered: bool = True) -> AsyncIterator[int]:
    """A mail server on a port of 127.0.0.1 that encrypts at once, or offers to by STARTTLS, or does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "localhost.pem")
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"authenticator": box.authenticate, "auth_require_tls": False}
    if offered and not at_once:
        options["tls_context"] = context
    serving = await loop.create_server(
        lambda: SMTP(box, loop=loop, hostname="test", **options), "127.0.0.1", 0, ssl=context if at_once else None
    )
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        serving.close()


def letter() -> OutgoingMessage:
    key = str(uuid4())
    return OutgoingMessage(
        key=key, order_id=uuid4(), template="shipped", recipient="ada@example.com", subject="Hello", body="It is on its way.",
        written_at=datetime(2026, 3, 2, tzinfo=UTC),
    )  # fmt: skip


def to(url: str, ca_file: Path | None = None) -> Server:
    return server_of(url, "orders@example.com", ca_file)


URLS: dict[str, Callable[[int], str]] = {
    "smtps": lambda port: f"smtps://shop:secret@localhost:{port}",
    "starttls": lambda port: f"smtp://shop:secret@localhost:{port}",
    "starttls without a password": lambda port: f"smtp://localhost:{port}",
}


@pytest.mark.parametrize("how", URLS)
async def test_a_server_that_nobody_trusts_is_told_nothing(how: str) -> None:
    box = Box()
    async with listening(box, at_once=how == "smtps") as port:
        with pytest.raises(AccountUnavailable, match="not trusted") as raised:
            await deliver(to(URLS[how](port)), letter())
    assert "ORDINO_SMTP_CA_FILE" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert (box.letters, box.passwords) == ([], [])


@pytest.mark.parametrize("how", URLS)
async def test_a_server_whose_authority_is_named_takes_mail(how: str) -> None:
    box = Box()
    async with listening(box, at_once=how == "smtps") as port:
        await deliver(to(URLS[how](port), AUTHORITY), letter())
    assert len(box.letters) == 1
    assert box.passwords == ([] if "without" in how else [b"secret"])


@pytest.mark.parametrize("how", URLS)
async def test_a_certificate_of_another_name_is_not_trusted(how: str) -> None:
    box = Box()
    async with listening(box, at_once=how == "smtps") as port:
        with pytest.raises(AccountUnavailable, match="Call the server by the name in its certificate"):
            await deliver(to(URLS[how](port).replace("localhost", "127.0.0.1"), AUTHORITY), letter())
    assert (box.letters, box.passwords) == ([], [])


async def test_a_password_is_not_sent_in_the_open_whatever_the_server_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on the way takes STARTTLS out of what the server offers. Only this machine itself may do without."""
    box = Box()
    async with listening(box, offered=False) as port:
        await deliver(to(f"smtp://shop:secret@127.0.0.1:{port}"), letter())
        assert box.passwords == [b"secret"]
        monkeypatch.setattr(smtp, "_is_loopback", lambda host: False)
        with pytest.raises(AccountUnavailable, match="does not offer to encrypt"):
            await deliver(to(f"smtp://shop:secret@127.0.0.1:{port}"), letter())
        assert box.passwords == [b"secret"]
        await deliver(to(f"smtp://127.0.0.1:{port}"), letter())  # there is nothing to be kept secret
    assert len(box.letters) == 2


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("mail.example.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_this_machine(host: str, near: bool) -> None:
    assert smtp._is_loopback(host) is near


@pytest.mark.parametrize(
    "held", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_holds_no_certificates_is_refused_at_start(tmp_path: Path, held: str | None) -> None:
    file = tmp_path / "authority.pem"
    if held is not None:
        file.write_text(held)
    with pytest.raises(BadSetting, match="ORDINO_SMTP_CA_FILE"):
        to("smtps://mail.example.com", file)


def test_the_setting_names_the_file() -> None:
    settings = Settings.from_environment({"ORDINO_SMTP_CA_FILE": str(AUTHORITY)})
    assert settings.smtp_ca_file == AUTHORITY
