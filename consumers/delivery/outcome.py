"""How a delivery ends."""

from enum import Enum


class Outcome(Enum):
    """All but DEAD are acknowledged."""

    DONE = "done"
    DUPLICATE = "duplicate"
    STALE = "stale"
    BUSY = "busy"
    RETRIED = "retried"
    AWAY = "away"
    DEAD = "dead"


# The step was tried; the others found that there is nothing to try.
TRIES = frozenset({Outcome.DONE, Outcome.RETRIED, Outcome.AWAY, Outcome.DEAD})
