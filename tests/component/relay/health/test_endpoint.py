"""The relay's probes over HTTP: alive or not, ready or not, and why."""

import asyncio
import http.client
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from relay.health import liveness as liveness_module
from relay.health.endpoint import Probes, ProbesError
from relay.health.liveness import Liveness, RelayStatus
from tests.support.probes.health_endpoint import asked, waited_for


async def test_liveness_fails_while_the_loop_hangs_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness_module, "LOOP_SECONDS", 0.5)
    monkeypatch.setattr(liveness_module, "BEAT_SECONDS", 0.02)

    liveness = Liveness()
    liveness.status = RelayStatus("standby")
    beating = asyncio.create_task(liveness.beat())
    with Probes(liveness, "127.0.0.1", 0) as probes:
        assert (await asyncio.to_thread(asked, probes.port, "/livez"))[0] == 200
        # From here on the loop does not turn; the thread answers all the same.
        status, body = waited_for(probes.port, "/livez", lambda answer: answer[0] != 200)
        assert (status, "event loop" in body["reason"]) == (503, True)
        assert asked(probes.port, "/readyz") == (503, {"role": "standby", **body})
        await asyncio.to_thread(waited_for, probes.port, "/livez", lambda answer: answer[0] == 200)
    beating.cancel()


def test_liveness_fails_when_a_leaders_pipeline_stops_turning() -> None:
    liveness = Liveness()
    turned_at = time.monotonic()
    liveness.status = RelayStatus("leader", None, 7, lambda: turned_at)
    with Probes(liveness, "127.0.0.1", 0) as probes:
        assert asked(probes.port, "/livez")[0] == 200
        assert asked(probes.port, "/readyz") == (200, {"role": "leader", "epoch": 7})
        turned_at -= liveness_module.TURN_SECONDS + 1
        status, body = asked(probes.port, "/livez")
        assert (status, "pipeline" in body["reason"]) == (503, True)


def test_a_leader_whose_events_get_no_confirm_is_not_ready_and_is_no_reason_to_restart_it() -> None:
    liveness = Liveness()
    sent_at = datetime.now(UTC)
    liveness.status = RelayStatus("leader", None, 7, time.monotonic, lambda: sent_at)
    with Probes(liveness, "127.0.0.1", 0) as probes:
        assert asked(probes.port, "/readyz")[0] == 200
        sent_at -= timedelta(seconds=liveness_module.UNCONFIRMED_SECONDS + 1)
        status, body = asked(probes.port, "/readyz")
        assert (status, "for its confirm" in body["reason"]) == (503, True)
        assert asked(probes.port, "/livez")[0] == 200


def test_a_scraper_that_has_gone_is_not_logged_and_any_other_error_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Gone(Liveness):
        def dead(self) -> str | None:
            raise errors.pop()

    errors: list[Exception] = [ValueError("of our own"), BrokenPipeError(), ConnectionResetError(), TimeoutError()]
    with Probes(Gone(), "127.0.0.1", 0) as probes:
        while errors:
            with pytest.raises(http.client.RemoteDisconnected):
                asked(probes.port, "/livez")
    # An earlier test of the same process may have sent the log to standard error.
    printed = "".join(capsys.readouterr())
    assert printed.count("scrape_failed") == 1
    assert "of our own" in printed
    assert "Exception occurred during processing" not in printed  # socketserver's own report


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProbesError, match=f"127.0.0.1:{port}.*RELAY_HTTP_PORT"):
            Probes(Liveness(), "127.0.0.1", port)
