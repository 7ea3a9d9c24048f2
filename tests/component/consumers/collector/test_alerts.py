"""Each cause is alerted once in an interval, by the first collector that claims it, sooner or later."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from pydantic import SecretStr

from consumers.collector.alerts import Alerts
from outbox.dead_letters.alert_claims import claim
from outbox.dead_letters.queries import Selection
from outbox.dead_letters.replay import replay
from runtime.settings import Settings
from tests.support.builders.dead_letters import (
    ANNA,
    EXCHANGE,
    DeadLetterDatabase,
    dead_letter_database,
    dead_letter_for,
)
from tests.support.builders.events import new_event
from tests.support.servers.webhook import Webhook, webhook

INTERVAL_SECONDS = 3600


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as taking:
        yield taking


@dataclass(frozen=True)
class Alerter:
    """A database of dead letters, and the alerts about them."""

    database: DeadLetterDatabase
    alerts: Alerts
    client: httpx.AsyncClient

    async def send(self) -> str | None:
        return await self.alerts.run_once(self.client)

    async def age(self, seconds: float) -> None:
        """Have all of it happened longer ago."""
        await self.database.sql(
            "UPDATE outbox.dead_letter_alerts SET alerted_at = alerted_at - make_interval(secs => :age), "
            "alerting_until = alerting_until - make_interval(secs => :age)",
            age=seconds,
        )


@asynccontextmanager
async def teller(url: str, address: str) -> AsyncIterator[Alerter]:
    settings = Settings(
        database_url=url,
        amqp_url="amqp://127.0.0.1:1/",
        alert_webhook_url=SecretStr(address),
        alert_interval_seconds=INTERVAL_SECONDS,
    )
    async with dead_letter_database(url) as database, httpx.AsyncClient(timeout=10, trust_env=False) as client:
        yield Alerter(database, Alerts(settings, database.engine, asyncio.Event()), client)


@pytest.fixture
async def one(shared_database_url: str, hook: Webhook) -> AsyncIterator[Alerter]:
    async with teller(shared_database_url, hook.url) as one:
        yield one


async def test_a_cause_is_alerted_once_in_an_interval_however_many_dead_letters_it_has(
    one: Alerter, hook: Webhook
) -> None:
    await one.database.keep(*(dead_letter_for() for _ in range(40)))
    assert await one.send() == "sent"
    await one.database.keep(*(dead_letter_for() for _ in range(7)))
    assert await one.send() is None
    (text,) = hook.texts
    newest = (await one.database.dead_letters())[39].id
    assert text.startswith("40 new dead letters in sap (rejected)\n")
    assert "cause: SapRefused@consumers.adapters.sap:create" in text
    assert "newest error: SapRefused: 400: no such material" in text
    assert "`waybill dead-letters groups`" in text
    assert f"`waybill dead-letters show {newest}`" in text
    assert "replay --queue sap --fingerprint SapRefused@consumers.adapters.sap:create" in text
    await one.age(INTERVAL_SECONDS + 1)
    assert await one.send() == "sent"
    assert hook.texts[1].startswith("7 new dead letters in sap")
    await one.age(INTERVAL_SECONDS + 1)
    assert await one.send() is None  # nothing new


async def test_each_cause_has_an_alert_of_its_own(one: Alerter, hook: Webhook) -> None:
    await one.database.keep(
        dead_letter_for(), dead_letter_for(fingerprint="it's another"), dead_letter_for(queue="email")
    )
    assert [await one.send() for _ in range(4)] == ["sent", "sent", "sent", None]
    assert {text.splitlines()[0] for text in hook.texts} == {
        "1 new dead letter in sap (rejected)",
        "1 new dead letter in email (rejected)",
    }
    assert any("""--fingerprint 'it'"'"'s another'""" in text for text in hook.texts)


async def test_a_replay_that_died_again_says_so(one: Alerter, hook: Webhook) -> None:
    event = new_event()
    await one.database.keep(dead_letter_for(event))
    await one.database.do(lambda tx: replay(tx, Selection(), ANNA, EXCHANGE))
    await one.database.keep(dead_letter_for(new_event(id=event.id, generation=2)))
    await one.send()
    assert "replayed 1 times before" in hook.texts[0]


async def test_two_collectors_do_not_send_the_same_twice(one: Alerter, hook: Webhook) -> None:
    await one.database.keep(dead_letter_for())
    hook.may_answer.clear()
    sending_first = asyncio.create_task(one.send())
    await asyncio.to_thread(hook.wait_until_asked)
    assert await one.send() is None
    hook.may_answer.set()
    assert await sending_first == "sent"
    assert await one.send() is None
    assert len(hook.texts) == 1


async def test_a_dead_letter_stored_during_an_alert_counts_for_the_next(one: Alerter, hook: Webhook) -> None:
    await one.database.keep(dead_letter_for(), dead_letter_for())
    hook.may_answer.clear()
    sending_first = asyncio.create_task(one.send())
    await asyncio.to_thread(hook.wait_until_asked)
    await one.database.keep(dead_letter_for())
    hook.may_answer.set()
    await sending_first
    await one.age(INTERVAL_SECONDS + 1)
    await one.send()
    assert [text.split()[0] for text in hook.texts] == ["2", "1"]


async def test_a_webhook_that_refuses_gets_later_an_alert_that_counts_all(one: Alerter, hook: Webhook) -> None:
    await one.database.keep(dead_letter_for())
    for status in (500, 429, 404, 302):
        hook.status = status
        assert await one.send() == "refused"
    await one.database.keep(dead_letter_for())
    hook.status = 200
    assert await one.send() == "sent"
    assert hook.texts[0].startswith("2 new dead letters")


async def test_a_collector_that_dies_while_it_sends_leaves_the_alert_to_another(one: Alerter, hook: Webhook) -> None:
    await one.database.keep(dead_letter_for())
    assert await one.database.do(lambda tx: claim(tx, INTERVAL_SECONDS, 60)) is not None  # and then it dies
    assert await one.send() is None
    await one.age(61)
    assert await one.send() == "sent"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/T0secret", "nonsense/T0secret", "http://[T0secret"])
async def test_a_webhook_that_is_not_there_is_called_again_and_its_address_is_not_logged(
    shared_database_url: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with teller(shared_database_url, address) as one:
        await one.database.keep(dead_letter_for())
        assert await one.send() == "unanswered"
        assert await one.send() == "unanswered"
        assert "T0secret" not in repr(one.alerts)
    reported = capsys.readouterr()
    assert "alert_unanswered" in reported.out + reported.err
    assert "T0secret" not in reported.out + reported.err
