"""A dump taken in mid-flow, restored to another cluster: the relay there misses no event of it."""

from collections import Counter
from pathlib import Path

from tests.support.builders.events import new_event
from tests.support.builders.steady_writer import writing
from tests.support.probes.relay_harness import RelayHarness, first_copies, ids, numbered
from tests.support.processes.relay import relay
from tests.support.servers import databases as real
from tests.support.servers.private_servers import OwnPostgres
from tests.support.servers.second_cluster import dump, restore

BACKLOG = 4000
EVENTS = "SELECT id, event_id::text AS event_id, subject FROM outbox.events ORDER BY id"


def test_every_event_of_a_dump_taken_while_all_were_at_work_arrives_from_the_cluster_it_is_restored_to(
    harness: RelayHarness, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    with (
        writing(harness.database_url, "one", "two"),
        relay(harness.database_url, harness.amqp_url, tmp_path, page_size=5, window=10, lease_seconds=1) as process,
    ):
        harness.record(numbered(BACKLOG, subjects=200))
        harness.wait_for_cursor(200)
        archive = dump(harness.database_url, tmp_path / "dump")
        process.kill()
    harness.take("validation")
    with real.database(own_postgres.url) as url:
        restore(archive, url)
        there = RelayHarness(url, harness.amqp_url, harness.taken)
        assert 200 <= there.confirmed() < BACKLOG, "the dump was to be taken in mid-flow"
        early = new_event("recorded-before-the-relay-came")
        there.record([early])
        dumped = there.rows(EVENTS)

        with relay(url, harness.amqp_url, tmp_path) as successor:
            adopted = successor.wait_for("cluster_adopted")
            there.wait_until(
                "SELECT coalesce(sum(events), 0) >= $1 FROM outbox.pages "
                "WHERE page > (SELECT max(after_page) FROM outbox.adoptions)",
                adopted["events"],
            )
            assert successor.stop() == 0
        messages = there.take("validation")

    assert adopted["old_identifier"] != adopted["new_identifier"]
    assert adopted["events"] == sum(row["id"] > adopted["floor_id"] for row in dumped)
    places = {row["event_id"]: row["id"] for row in dumped}
    assert str(early.id) in places
    firsts = [event_id for event_id in first_copies(messages) if event_id in places]
    assert set(firsts) == set(places)
    subjects = {row["event_id"]: row["subject"] for row in dumped}
    # Everything recorded here is under one lock per subject or in one transaction: ids are in the order of commits.
    for subject in set(subjects.values()):
        order = [places[event_id] for event_id in firsts if subjects[event_id] == subject]
        assert order == sorted(order)
    copies = Counter(ids(messages))
    assert {copies[event_id] for event_id, place in places.items() if place <= adopted["floor_id"]} == {1}
