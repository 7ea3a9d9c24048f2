"""Evidence on the first few orders with a finding: their events, deliveries and dead letters, a line for each."""

from collections.abc import Mapping, Sequence

from lab.prove.judge.finding import Finding
from lab.prove.system_under_test import SystemUnderTest

MOST_ORDERS = 4

_KNOWN = """
SELECT format('order %s %s, placed %s', number, status, placed_at) FROM orders WHERE id::text = $1
UNION ALL
(SELECT format('event %s %s %s generation %s to %s, recorded %s', id, event_id, type, generation,
               coalesce(destination, 'the exchange'), recorded_at)
 FROM outbox.events WHERE subject = $1 ORDER BY id)
UNION ALL
(SELECT format('delivery %s %s %s generation %s claims %s, %s, journal %s: %s', consumer, event_id, state,
               generation, claims, changed_at, journal, error)
 FROM outbox.deliveries WHERE subject = $1 ORDER BY changed_at)
UNION ALL
(SELECT format('dead letter %s in %s %s %s generation %s, %s, replayed %s times: %s', id, queue, event_id, state,
               generation, reason, replay_count, error)
 FROM outbox.dead_letters WHERE subject = $1 ORDER BY id)"""


async def evidence(
    system: SystemUnderTest, findings: Sequence[Finding], accepted: Mapping[str, str]
) -> dict[str, list[str]]:
    """Lines on the first few orders that any finding but `resent` is about, by reference."""
    wrong = [one.about for one in findings if one.kind != "resent" and one.about in accepted]
    known = {}
    for reference in list(dict.fromkeys(wrong))[:MOST_ORDERS]:
        known[reference] = [row[0] for row in await system.patient_query(_KNOWN, accepted[reference])]
    return known
