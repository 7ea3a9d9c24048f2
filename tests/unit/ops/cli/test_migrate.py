"""`waybill migrate` says in one line why it failed."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from migrations import upgrade
from ops.cli.main import app
from runtime.settings import load_settings


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/waybill")
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/")
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TimeoutError(), "TimeoutError"), (OSError("connection refused\nby the server"), "connection refused")],
)
def test_the_reason_is_the_errors_first_line_or_its_name(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_url: str) -> None:
        raise error

    monkeypatch.setattr(upgrade, "upgrade", fail)

    result = CliRunner().invoke(app, ["migrate"])

    assert result.exit_code == 1
    assert f"cannot migrate the database: {reason}\n" in result.output
