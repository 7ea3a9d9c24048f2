"""Why a message is a dead letter: the only list of the reasons. Pure.

`outbox.tables` derives the CHECK from it, `ops` its option, `consumers.collector` its metric's labels. The inbox
decides the first three, the relay decides UNPUBLISHABLE, the collector finds the others in what the broker says.
"""

from enum import StrEnum


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
