import time

import pytest

from lab.workload import submission
from lab.workload.submission import SubmissionError, submit
from tests.support.servers.order_api_stub import ORDERS, REFERENCES, api


async def test_every_order_is_accepted_once_with_its_location_and_time() -> None:
    seen: list[int] = []
    with api() as (server, url):
        accepted = await submit(url, ORDERS, seen.append)

    assert sorted(server.placed) == sorted(one.reference for one in accepted) == REFERENCES
    assert all(one.location == f"/orders/{one.reference}" and one.accept_ms > 0 for one in accepted)
    assert seen == list(range(1, 13))


async def test_an_order_whose_answer_was_lost_is_sent_again_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "PAUSE_SECONDS", 0.0)
    with api(lost={REFERENCES[3]}) as (server, url):
        accepted = await submit(url, ORDERS, lambda _: None)

    assert sorted(server.placed) == sorted(one.reference for one in accepted) == REFERENCES


async def test_at_a_rate_each_order_is_sent_at_its_time() -> None:
    started = time.monotonic()
    with api() as (server, url):
        accepted = await submit(url, ORDERS, lambda _: None, per_second=50)

    assert time.monotonic() - started >= (len(ORDERS) - 1) / 50
    assert sorted(one.reference for one in accepted) == sorted(server.placed) == REFERENCES


async def test_an_order_that_the_api_refuses_ends_the_run_with_its_words() -> None:
    with (
        api(refused={REFERENCES[5]}) as (_, url),
        pytest.raises(SubmissionError, match=f"{REFERENCES[5]} was not accepted.* 422 .*quantity is wrong"),
    ):
        await submit(url, ORDERS, lambda _: None)
