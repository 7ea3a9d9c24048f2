"""What Celery and its pool say past the root logger, which would be no line of our log (runtime.logging)."""

import logging
from typing import Any

import billiard.util
import celery.apps.worker

_celery: Any = celery.apps.worker  # whose types leave out what it prints with


def all_through_our_log() -> None:
    """Have the pool's logger, which passes nothing on, write our lines, and nothing printed at a stop.

    That print is made in a signal handler, where nobody may log: it could be called in the middle of writing a line.
    So `worker_stopping` says it, a moment later.
    """
    billiard.util.get_logger().handlers[:] = logging.getLogger().handlers
    _celery.safe_say = _say_nothing


def _say_nothing(*_: object) -> None:
    """In the place of Celery's own."""
