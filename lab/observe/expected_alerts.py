"""Which alerts the faults of an observation may set off, and which they must: any other that fires is a failure. Pure.

Before the first order, when there is no fault yet, none of them may (`sight.firing_at_rest`).

A thirtieth of an hour is two minutes, and some slow seconds of a busy machine are a large part of these: alerts that
tell of slowness may fire, those that tell of anything lost, missing or standing still may not.
"""

from collections.abc import Collection

from lab.observe import outage

MUST_FIRE = {
    outage.ALERT: "SAP is away for a while",
    "WaybillDeadLettersNew": "one customer's mailbox does not exist, and what is written to it dies",
}
_SLOW = "in a hurry a few slow seconds weigh as much as many slow minutes"
MAY_FIRE = {
    **MUST_FIRE,
    "WaybillRetryStorm": "SAP fails a tenth of the calls, and all of them before its circuit opens",
    "WaybillQueueSlow": "what waited for SAP comes at once, after a time in which its queue did not move",
    "WaybillWorkersSaturated": "200 orders come at once, and keep a pool of a busy machine at work for as long",
    "WaybillDeadLettersNotCollected": "its ten seconds are two looks of the broker at how long its queues are",
    "WaybillAcceptanceBurnsFast": _SLOW,
    "WaybillAcceptanceBurnsSlowly": _SLOW,
    "WaybillCompletionBurnsFast": _SLOW,
    "WaybillCompletionBurnsSlowly": _SLOW,
}


def unexpected(fired: Collection[str]) -> list[str]:
    """What fired and may not have."""
    return sorted(set(fired) - set(MAY_FIRE))


def silent(fired: Collection[str]) -> list[str]:
    """What should have fired and did not."""
    return sorted(set(MUST_FIRE) - set(fired))
