"""Expected alerts: those that the faults of an observation may fire, and those that they must. Pure.

Any other alert that fires is a failure. Before the first order, when there is no fault yet, none of them may fire
(`prometheus_checks.firing_at_rest`). A thirtieth of an hour is two minutes, and some slow seconds of a busy machine are
a large part of these: so alerts on slowness may fire; alerts on loss, absence or standstill may not.
"""

from collections.abc import Collection

from lab.observe import outage

MUST_FIRE = {
    outage.ALERT: "SAP is away for a while",
    "WaybillDeadLettersNew": "one customer's mailbox does not exist, and e-mails to it are dead-lettered",
}
_SLOW = "on the shortened clock a few slow seconds weigh as much as many slow minutes"
MAY_FIRE = {
    **MUST_FIRE,
    "WaybillRetryStorm": "SAP fails a tenth of the calls, and all of them before its circuit opens",
    "WaybillQueueSlow": "orders that waited for SAP arrive at once, after a time in which its queue did not move",
    "WaybillWorkersSaturated": "200 orders arrive at once, and keep a pool of a busy machine busy for as long",
    "WaybillDeadLettersNotCollected": "its ten seconds are two updates of the broker's queue lengths",
    "WaybillAcceptanceBurnsFast": _SLOW,
    "WaybillAcceptanceBurnsSlowly": _SLOW,
    "WaybillCompletionBurnsFast": _SLOW,
    "WaybillCompletionBurnsSlowly": _SLOW,
}


def unexpected(fired: Collection[str]) -> list[str]:
    """Alerts that fired and may not have."""
    return sorted(set(fired) - set(MAY_FIRE))


def silent(fired: Collection[str]) -> list[str]:
    """Alerts that must fire and did not."""
    return sorted(set(MUST_FIRE) - set(fired))
