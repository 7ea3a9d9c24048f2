"""What a process says when it is given settings that it cannot use."""

import pytest

from runtime.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def fresh_settings() -> None:
    load_settings.cache_clear()


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("AMQP_URL", "amqp://localhost/")
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        load_settings()


def test_an_unusable_value_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://waybill:hunter2@db.example/orders")
    monkeypatch.setenv("AMQP_URL", "http://guest:s3cret@mq.example/")
    monkeypatch.setenv("RELAY_WINDOW", "0")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    message = str(refusal.value)
    assert "mysql://***@db.example/orders" in message
    assert "RELAY_WINDOW" in message
    assert "'0'" in message
    assert "hunter2" not in message
    assert "s3cret" not in message


def test_an_inbox_that_forgets_what_can_come_again_is_refused_without_a_word_of_the_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:s3cret@host/db")
    monkeypatch.setenv("AMQP_URL", "amqp://user:s3cret@host/")
    monkeypatch.setenv("INBOX_RETENTION_DAYS", "30")
    load_settings.cache_clear()
    with pytest.raises(SettingsError, match="INBOX_RETENTION_DAYS 30 must be above") as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)
