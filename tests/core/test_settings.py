from __future__ import annotations

from pathlib import Path

import pytest

from ordino.core.settings import BadSetting, Settings, describe


def test_nothing_needs_to_be_set():
    settings = Settings.from_environment({})
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.body_limit_bytes == 10_000_000


def test_every_setting_can_be_set_and_is_described():
    rows = {row.variable: row for row in describe()}
    assert set(rows) == {f"ORDINO_{name.upper()}" for name in Settings.__struct_fields__}
    assert all(row.sentence.endswith(".") and row.default for row in rows.values())
    values = {
        name: row.default for name, row in rows.items() if row.default != "none" and name != "ORDINO_DATA_DIRECTORY"
    }
    assert Settings.from_environment(values) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ORDINO_PORT", "eighty", "a whole number from 1 to 65535"),
        ("ORDINO_PORT", "65536", "a whole number from 1 to 65535"),
        ("ORDINO_PORT", "80.5", "a whole number from 1 to 65535"),
        ("ORDINO_POOL_SIZE", "0", "a whole number of at least 1"),
        ("ORDINO_LEASE_SECONDS", "-1", "a number from"),
        ("ORDINO_LEASE_SECONDS", "nan", "a number from"),
        ("ORDINO_LEASE_SECONDS", "inf", "a number from"),
        ("ORDINO_DATABASE_URL", "mysql://localhost/shop", "postgresql://"),
        ("ORDINO_SMTP_URL", "pop3://localhost", "smtp://"),
        ("ORDINO_DATABASE_URL", "postgresql://[::1/shop", "host and port cannot be read"),
        ("ORDINO_DATABASE_URL", "postgresql://one:5432,two:many/shop", "host and port cannot be read"),
        ("ORDINO_DATABASE_URL", "postgresql://me:se#cret@localhost/shop", "host and port cannot be read"),
        ("ORDINO_DATABASE_URL", "postgresql://localhost:99999/shop", "host and port cannot be read"),
        ("ORDINO_SMTP_URL", "smtp://mail:submission", "host and port cannot be read"),
        ("ORDINO_FEED_DIRECTORY", "~nobody-of-this-name/feeds", "home directory"),
    ],
)
def test_a_bad_value_is_refused_by_name(variable: str, value: str, expected: str):
    with pytest.raises(BadSetting) as refused:
        Settings.from_environment({variable: value})
    assert refused.value.variable == variable
    assert variable in str(refused.value)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:se%23cret@[::1]:5432/shop?sslmode=disable",
        "postgres://one:5432,two:5433/shop",
        "postgresql:///shop?host=/run/postgresql",
        "postgresql://ordino@/ordino?host=%2Fvar%2Flib%2Fordino%2Fsocket&port=5432",
    ],
)
def test_a_good_url_is_taken_as_it_is(url: str):
    assert Settings.from_environment({"ORDINO_DATABASE_URL": url}).database_url == url


def test_a_password_is_never_repeated():
    with pytest.raises(BadSetting) as refused:
        Settings.from_environment({"ORDINO_DATABASE_URL": "mysql://me:secret@localhost/shop"})
    assert "secret" not in str(refused.value)


def test_an_empty_variable_counts_as_unset():
    assert Settings.from_environment({"ORDINO_PORT": " ", "ORDINO_DATABASE_URL": ""}).port == 8000


def test_the_data_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Settings.from_environment({}).data_directory == Path("/var/lib/ordino")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Settings.from_environment({"XDG_DATA_HOME": "/data"}).data_directory == Path("/data/ordino")
    assert Settings.from_environment({"XDG_DATA_HOME": "data"}).data_directory == Path.home() / ".local/share/ordino"
    assert Settings.from_environment({"ORDINO_DATA_DIRECTORY": "~/shop"}).data_directory == Path.home() / "shop"
