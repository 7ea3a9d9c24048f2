"""The load of a proof sends each order again until it is accepted; the API is the one of test_submission."""

import pytest

from lab.prove import load
from lab.prove.load import Load, NotAcceptedError
from tests.support.servers.order_api_stub import ORDERS, REFERENCES, api


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PAUSE_SECONDS", 0.0)


async def test_every_order_is_accepted_and_its_id_kept() -> None:
    with api() as (server, url):
        sent = Load(url, ORDERS, seconds=0.1)
        await sent.run()

    assert sorted(server.placed) == REFERENCES
    assert sent.accepted == {reference: reference for reference in REFERENCES}  # that API's ids
    assert sent.sent_again == 0


async def test_an_unanswered_order_is_sent_again_and_known_by_its_reference() -> None:
    lost = set(REFERENCES[3:6])
    with api(lost=set(lost)) as (server, url):
        sent = Load(url, ORDERS, seconds=0.1)
        await sent.run()

    assert sorted(server.placed) == sorted(sent.accepted) == REFERENCES
    assert sent.sent_again == len(lost)


async def test_a_refusal_is_an_error_and_not_retried() -> None:
    with api(refused={REFERENCES[0]}) as (_, url), pytest.raises(NotAcceptedError, match=f"{REFERENCES[0]}: 422"):
        await Load(url, ORDERS, seconds=0.1).run()


async def test_silence_for_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.0)
    with api() as (_, url):
        pass

    with pytest.raises(NotAcceptedError, match="without success; the last: no answer"):
        await Load(url, ORDERS, seconds=0.1).run()
