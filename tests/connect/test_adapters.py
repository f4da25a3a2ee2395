"""ADA-1 and ADA-2: adapters are found by entry point, and what is wrong with one is said and ends nothing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from httpx import AsyncClient

from api.test_api import application, calling
from ordino.api.server import load_stages
from ordino.connect.payments.manual import ManualProvider
from ordino.core import adapters
from ordino.core.adapters import AdapterShown, Port
from ordino.orders.channels import Channel, channels
from ordino.orders.providers import PaymentProvider, providers

GROUP = "ordino.payment_providers"
GOOD = """
    from ordino.connect.payments.manual import ManualProvider

    class Provider(ManualProvider):
        pass
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package where Python finds it, as an installer would."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(package: str, code: str, *, group: str = GROUP, names: str = "", version: str = "1.2") -> None:
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(dedent(code))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{names or f'{module} = {module}:Provider'}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


@pytest.fixture
def port() -> Iterator[Port[PaymentProvider]]:
    """A port that looks for itself, beside the process's own."""
    made: Port[PaymentProvider] = Port("payment_provider", GROUP, PaymentProvider)
    yield made
    adapters.PORTS["payment_provider"] = providers


def shown(port: Port[Any], name: str) -> AdapterShown:
    [one] = [one for one in port.shown() if one.name == name]
    return one


def test_ordinos_own_adapters_are_found_as_those_of_others_are(port: Port[PaymentProvider]) -> None:
    assert isinstance(port["manual"], ManualProvider)
    one = shown(port, "manual")
    assert (one.package, one.ready, one.lacking, one.problem) == ("ordino", True, None, None)
    load_stages()
    kinds = {(one.kind, one.name) for one in adapters.adapters()}
    assert kinds >= {
        ("payment_provider", "manual"),
        ("message_provider", "smtp"),
        ("carrier", "manual"),
        ("carrier", "files"),
        ("channel", "files"),
    }


def test_an_adapter_of_another_package_is_found_with_its_version(install: Install, port: Port[PaymentProvider]) -> None:
    install("acme-pay", GOOD)
    assert set(port) == {"acme_pay", "manual"}
    one = shown(port, "acme_pay")
    assert (one.package, one.version, one.ready) == ("acme-pay", "1.2", True)


def test_an_adapter_that_lacks_a_setting_is_there_and_says_so(install: Install, port: Port[PaymentProvider]) -> None:
    install("poor", GOOD.replace("pass", 'def lacking(self): return "Set POOR_KEY."'))
    one = shown(port, "poor")
    assert "poor" in port
    assert (one.ready, one.lacking, one.problem) == (False, "Set POOR_KEY.", None)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("", "AttributeError"),
        (
            GOOD.replace("pass", 'def __init__(self):\n            raise RuntimeError("no license")'),
            "RuntimeError: no license",
        ),
        (
            "class Provider:\n        def lacking(self): ...\n        async def authorize(self, call): ...",
            "It lacks `capture`, `refund`, `void`, which a payment provider has.",
        ),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_named_with_the_reason_and_ends_nothing(
    install: Install, port: Port[PaymentProvider], caplog: pytest.LogCaptureFixture, code: str, why: str
) -> None:
    install("broken", code)
    install("fine", GOOD)
    with caplog.at_level(logging.ERROR):
        assert set(port) == {"fine", "manual"}
    one = shown(port, "broken")
    assert not one.ready
    assert why in (one.problem or "")
    assert [said for said in caplog.messages if "'broken' of broken 1.2" in said and why in said]


def test_two_adapters_of_one_name_are_refused_both_and_others_are_used(
    install: Install, port: Port[PaymentProvider]
) -> None:
    install("first", GOOD, names="acme = first:Provider")
    install("second", GOOD, names="acme = second:Provider", version="2.0")
    assert set(port) == {"manual"}
    found = [one for one in port.shown() if one.name == "acme"]
    assert {one.package for one in found} == {"first", "second"}
    for one in found:
        assert "first 1.2 and second 2.0. None of them is used; uninstall all but one." in (one.problem or "")


def test_an_adapter_that_cannot_say_what_it_lacks_is_listed(install: Install, port: Port[PaymentProvider]) -> None:
    install("mute", GOOD.replace("pass", "def lacking(self): return 1 / 0"))
    assert "ZeroDivisionError" in (shown(port, "mute").problem or "")


def test_a_name_that_is_not_there_is_refused_with_those_that_are(port: Port[PaymentProvider]) -> None:
    assert port.unknown("strpe") == (
        "There is no payment provider 'strpe' here; choose one of: manual. `ordino adapters` says what is wrong with others."
    )


def test_a_setting_that_does_not_fit_keeps_no_adapter_from_being_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the setting says what is wrong with it, once."""
    monkeypatch.setenv("ORDINO_SMTP_URL", "smtp://localhost:99999")
    found: Port[Channel] = Port("channel", "ordino.channels", Channel)
    adapters.PORTS["channel"] = channels
    with caplog.at_level(logging.ERROR):
        assert set(found) == {"files"}
    assert caplog.messages == []
    assert "ORDINO_SMTP_URL" in (shown(found, "files").lacking or "")


async def test_adapters_are_listed_over_http(database_url: str) -> None:
    load_stages()
    client: AsyncClient
    async with calling(application(database_url)) as client:
        answer = (await client.get("/v1/adapters")).json()
    [manual] = [one for one in answer["adapters"] if (one["kind"], one["name"]) == ("payment_provider", "manual")]
    assert (manual["package"], manual["ready"], manual["problem"]) == ("ordino", True, None)
    assert manual["version"]
