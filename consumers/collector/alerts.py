"""Alerts about new dead letters: one message for each cause and interval, to a webhook with Slack's format.

Run by `consumers.collector.process`. A webhook that refuses or does not answer is called again after a pause that
grows. Until then the dead letters are counted, and the alert that gets through counts them all. The message has no
customer data: quotations and addresses are cut from an error. The webhook's URL is a secret: no log line and no error
shows it.
"""

import asyncio
import html
import re
import shlex

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.collector import metrics
from outbox.dead_letters.alert_claims import Alert, claim, mark_sent, release
from runtime.database import is_unavailable
from runtime.logging import get_logger
from runtime.loops import Backoff, sleep_until
from runtime.settings import Settings

POLL_SECONDS = 1.0
ANSWER_SECONDS = 10.0
CLAIM_SECONDS = 60.0  # much longer than the webhook may take
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
LONGEST_ERROR = 200

# A quotation comes from a message or an answer. An address is cut with or without quotes.
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|«[^»]*»|`[^`]*`|<[^>]*>|\{.*\}|\[.*\]""", re.DOTALL)
_ADDRESS = re.compile(r"\S*@\S+")

log = get_logger(__name__)


class Alerts:
    """The alerts of one process."""

    def __init__(self, settings: Settings, engine: AsyncEngine, stopping: asyncio.Event) -> None:
        assert settings.alert_webhook_url is not None, "the process starts no alerts without a webhook"
        self._url = settings.alert_webhook_url.get_secret_value()
        self._interval_seconds = settings.alert_interval_seconds
        self._engine = engine
        self._stopping = stopping

    async def run(self) -> None:
        """Send the alerts that are due, until stopped."""
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=True) as client:
            while not self._stopping.is_set():
                try:
                    outcome = await self.run_once(client)
                except Exception as error:  # noqa: BLE001 - the collector continues, and so do its alerts
                    outcome, kind = "failed", "database away" if is_unavailable(error) else type(error).__name__
                if outcome == "sent":
                    backoff.reset()
                    continue
                if outcome is None:
                    backoff.reset()
                pause = POLL_SECONDS if outcome is None else backoff.next()
                if outcome == "failed":
                    log.warning("alerts_postponed", error=kind, retry_in_seconds=pause)
                await sleep_until(self._stopping, pause)

    async def run_once(self, client: httpx.AsyncClient) -> str | None:
        """Send one alert: sent, refused or unanswered; None if none is due. Raises the database's errors."""
        async with self._engine.begin() as tx:
            alert = await claim(tx, self._interval_seconds, CLAIM_SECONDS)
        if alert is None:
            return None
        outcome = await self._post(client, alert)
        metrics.ALERTS_SENT.labels(outcome).inc()
        async with self._engine.begin() as tx:
            await (mark_sent if outcome == "sent" else release)(tx, alert)
        return outcome

    async def _post(self, client: httpx.AsyncClient, alert: Alert) -> str:
        group = {"queue": alert.queue, "fingerprint": alert.fingerprint, "dead_letters": alert.dead_letters}
        try:
            # These three characters are Slack's markup; as entities they are text.
            answer = await client.post(self._url, json={"text": html.escape(text_of(alert), quote=False)})
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("alert_unanswered", error=type(error).__name__, **group)  # its text may hold the URL
            return "unanswered"
        if not answer.is_success:
            log.warning("alert_refused", status=answer.status_code, **group)
            return "refused"
        log.info("alert_sent", **group)
        return "sent"


def text_of(alert: Alert) -> str:
    """The message: how many dead letters, in which queue, for which cause, and the commands that help."""
    fingerprint = shlex.quote(alert.fingerprint)
    dead_letters = "1 new dead letter" if alert.dead_letters == 1 else f"{alert.dead_letters} new dead letters"
    again = f", replayed {alert.replay_count} times before" if alert.replay_count else ""
    error = without_persons(f"{alert.error_class or ''}: {alert.error or 'no error is known'}".lstrip(": "))
    return (
        f"{dead_letters} in {alert.queue} ({alert.reason}{again})\n"
        f"cause: {alert.fingerprint}\n"
        f"newest error: {error}\n"
        "inspect: `waybill dead-letters groups`\n"
        f"         `waybill dead-letters show {alert.dead_letter_id}`\n"
        f"when the cause is gone: `waybill dead-letters replay --queue {shlex.quote(alert.queue)} "
        f"--fingerprint {fingerprint} --dry-run`"
    )


def without_persons(error: str) -> str:
    """An error without its quotations and without addresses, on one line."""
    text = _ADDRESS.sub("…", _QUOTED.sub("…", " ".join(error.split())))
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}…"
