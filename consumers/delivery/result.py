"""The result of a delivery, and its two translations.

The inbox refuses a delivery with a word of its own (`outbox.inbox.Refusal`), and an attempt is stored with the word of
`orders.model.AttemptEnd`. Both are translated here and nowhere else.
"""

from enum import Enum

from orders.model import AttemptEnd
from outbox.inbox import Refusal


class DeliveryResult(Enum):
    """The end of one delivery. A worker rejects the message of DEAD and acknowledges all others."""

    DONE = "done"
    DUPLICATE = "duplicate"
    STALE = "stale"
    BUSY = "busy"
    RETRIED = "retried"
    AWAY = "away"
    DEAD = "dead"


# The step was attempted. The others found nothing to attempt.
ATTEMPTED = frozenset({DeliveryResult.DONE, DeliveryResult.RETRIED, DeliveryResult.AWAY, DeliveryResult.DEAD})

_OF_REFUSAL = {
    Refusal.DUPLICATE: DeliveryResult.DUPLICATE,
    Refusal.STALE: DeliveryResult.STALE,
    Refusal.BUSY: DeliveryResult.BUSY,
    Refusal.DEAD: DeliveryResult.DEAD,
}
_ATTEMPT_ENDS = {
    DeliveryResult.DONE: AttemptEnd.DONE,
    DeliveryResult.RETRIED: AttemptEnd.RETRIED,
    DeliveryResult.AWAY: AttemptEnd.AWAY,
    DeliveryResult.DEAD: AttemptEnd.DEAD,
}


def of_refusal(refusal: Refusal) -> DeliveryResult:
    """The result of a delivery that the inbox refused."""
    return _OF_REFUSAL[refusal]


def attempt_end(result: DeliveryResult) -> AttemptEnd:
    """The stored end of an attempt with this result, one of ATTEMPTED."""
    return _ATTEMPT_ENDS[result]
