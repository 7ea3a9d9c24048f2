"""The collector's figures of open dead letters: how many, and how new, by any collector."""

from prometheus_client import REGISTRY

from consumers.collector.metrics import LABELS
from consumers.collector.process import count_once
from outbox.dead_letters.queries import Selection
from outbox.dead_letters.replay import discard
from tests.support.builders.dead_letters import ANNA, dead_letter_database, dead_letter_for


def figures(name: str) -> dict[tuple[str, str], float]:
    """A figure's values by queue and reason, without those that are 0; none is missing."""
    found = {}
    for queue, reason in LABELS:
        value = REGISTRY.get_sample_value(name, {"queue": queue, "reason": reason})
        assert value is not None
        found[queue, reason] = value
    return {label: value for label, value in found.items() if value}


async def test_the_time_of_the_newest_open_dead_letter_is_exported_until_it_is_decided(
    shared_database_url: str,
) -> None:
    """The collector that counts here has stored none of them: another one did, and the relay, which names no queue."""

    async with dead_letter_database(shared_database_url) as database:
        await database.keep(dead_letter_for())
        await database.keep(dead_letter_for(), dead_letter_for(queue="orders.events", reason="unpublishable"))
        await count_once(database.engine)
        _, second, aside = await database.dead_letters()
        newest = {("sap", "rejected"): second.first_seen_at, ("other", "unpublishable"): aside.first_seen_at}
        assert figures("waybill_dead_letters_newest_timestamp_seconds") == {
            label: at.timestamp() for label, at in newest.items()
        }
        assert figures("waybill_dead_letters_open") == {("sap", "rejected"): 2, ("other", "unpublishable"): 1}

        await database.do(lambda tx: discard(tx, Selection(), ANNA))
        await count_once(database.engine)
        assert not figures("waybill_dead_letters_newest_timestamp_seconds")
        assert not figures("waybill_dead_letters_open")
