"""Tells people of dead letters: one message for each cause and interval, to a webhook that takes what Slack takes.

The collector runs it. A webhook that refuses or does not answer is asked again after a pause that grows; until then the
dead letters are counted, and the alert that goes through names them all. The message holds nothing of a customer: of an
error only what is no quotation and no address. The webhook's URL is a password: it stands in no log and no error.
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
from runtime.settings import Settings

POLL_SECONDS = 1.0
ANSWER_SECONDS = 10.0
CLAIM_SECONDS = 60.0  # much longer than the webhook may take
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
LONGEST_ERROR = 200

# Whatever is quoted comes from a message or an answer; an address is one with or without quotes.
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|«[^»]*»|`[^`]*`|<[^>]*>|\{.*\}|\[.*\]""", re.DOTALL)
_ADDRESS = re.compile(r"\S*@\S+")

log = get_logger(__name__)


class Alerts:
    """The teller of one process."""

    def __init__(self, settings: Settings, engine: AsyncEngine, stopping: asyncio.Event) -> None:
        assert settings.alert_webhook_url is not None, "whoever has nowhere to tell tells nothing"
        self._url = settings.alert_webhook_url.get_secret_value()
        self._interval_seconds = settings.alert_interval_seconds
        self._engine = engine
        self._stopping = stopping

    async def run(self) -> None:
        """Tell what is due until stopped."""
        pause = FIRST_PAUSE_SECONDS
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=True) as client:
            while not self._stopping.is_set():
                try:
                    outcome = await self.run_once(client)
                except Exception as error:  # noqa: BLE001 - the collector goes on, and so do its alerts
                    kind = "database away" if is_unavailable(error) else type(error).__name__
                    log.warning("alerts_postponed", reason=kind, pause_seconds=pause)
                    outcome = "failed"
                if outcome == "sent":
                    pause = FIRST_PAUSE_SECONDS
                    continue
                await self._rest(POLL_SECONDS if outcome is None else pause)
                pause = FIRST_PAUSE_SECONDS if outcome is None else min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def run_once(self, client: httpx.AsyncClient) -> str | None:
        """Tell of one group: sent, refused or unanswered; None when none is due. Raises what the database raises."""
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
            # Slack's own marks are these three characters, and only as entities are they text.
            answer = await client.post(self._url, json={"text": html.escape(text_of(alert), quote=False)})
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("alert_unanswered", reason=type(error).__name__, **group)  # its text may hold the URL
            return "unanswered"
        if not answer.is_success:
            log.warning("alert_refused", status=answer.status_code, **group)
            return "refused"
        log.info("alert_sent", **group)
        return "sent"

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def text_of(alert: Alert) -> str:
    """The message: what died of what, how many, and what can be done."""
    fingerprint = shlex.quote(alert.fingerprint)
    dead_letters = "1 new dead letter" if alert.dead_letters == 1 else f"{alert.dead_letters} new dead letters"
    again = f", replayed {alert.replay_count} times before" if alert.replay_count else ""
    error = without_persons(f"{alert.error_class or ''}: {alert.error or 'no error is known'}".lstrip(": "))
    return (
        f"{dead_letters} in {alert.queue} ({alert.reason}{again})\n"
        f"cause: {alert.fingerprint}\n"
        f"newest error: {error}\n"
        "look: `waybill dead-letters groups`\n"
        f"      `waybill dead-letters show {alert.dead_letter_id}`\n"
        f"when the cause is gone: `waybill dead-letters replay --queue {shlex.quote(alert.queue)} "
        f"--fingerprint {fingerprint} --dry-run`"
    )


def without_persons(error: str) -> str:
    """An error without what it quotes and without addresses, on one line."""
    told = _ADDRESS.sub("…", _QUOTED.sub("…", " ".join(error.split())))
    return told if len(told) <= LONGEST_ERROR else f"{told[:LONGEST_ERROR]}…"
