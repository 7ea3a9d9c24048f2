"""Why a message is a dead letter, and what becomes of it: the only lists of the reasons and of the states. Pure.

`outbox.tables` derives the CHECKs from them, `ops` its options, `consumers.collector` its metric's labels. The inbox
decides the first three reasons, the relay UNPUBLISHABLE, the collector finds the others in what the broker says.
"""

from enum import StrEnum

# An operator replays or discards an open dead letter. A restore opens a discarded one again.
DEAD_LETTER_STATES = ("open", "replayed", "discarded")


class DeadLetterReason(StrEnum):
    """A dead letter's reason, in the words of the database, the API and the metrics."""

    REJECTED = "rejected"  # an error that no further attempt could repair
    RETRIES_EXHAUSTED = "retries_exhausted"
    KILLED_WORKER = "killed_worker"  # claimed several times and never finished: it kills the worker that runs it
    DELIVERY_LIMIT = "delivery_limit"  # delivered as often as the broker allows
    UNDECODABLE = "undecodable"  # not one of our events
    EXPIRED = "expired"  # past the broker's time to live, or older than the inbox keeps events
    UNROUTED = "unrouted"  # no queue is bound to its type
    UNPUBLISHABLE = "unpublishable"  # the relay cannot send it
