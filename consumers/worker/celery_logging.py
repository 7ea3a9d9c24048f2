"""The output of Celery and its pool that bypasses the root logger, and so our log (`runtime.logging`)."""

import logging
from typing import Any

import billiard.util
import celery.apps.worker

_celery: Any = celery.apps.worker  # whose types leave out the function that it prints with


def use_our_log() -> None:
    """Have the pool's logger, which passes nothing on, write our lines, and print nothing at a stop.

    Celery prints from a signal handler, where no line may be logged: it could be called in the middle of writing one.
    `worker_stopping` is logged instead, a moment later (`consumers.worker.chores`).
    """
    billiard.util.get_logger().handlers[:] = logging.getLogger().handlers
    _celery.safe_say = _print_nothing


def _print_nothing(*_: object) -> None:
    """Replaces Celery's own."""
