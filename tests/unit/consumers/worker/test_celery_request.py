"""What the worker's main process does when a task has broken."""

from typing import Any, cast
from unittest.mock import Mock

import pytest
from celery.worker.request import Request

from consumers.worker import celery_request
from consumers.worker.celery_request import EventRequest
from outbox.envelope import encode_headers
from tests.support.builders.events import new_event


class Failed(EventRequest):
    """The request of a task that has raised."""

    def __init__(self) -> None:
        event = new_event()
        self._args = (encode_headers(event), event.data.decode(), False)
        self.name = "sync_order_to_sap"  # type: ignore[misc]


def test_a_message_whose_failure_cannot_be_logged_is_settled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = Mock()
    monkeypatch.setattr(Request, "on_failure", settled)
    monkeypatch.setattr(celery_request, "log", Mock(error=Mock(side_effect=RuntimeError("no log"))))
    failure = Mock(exception=ValueError("of a step"))
    with pytest.raises(RuntimeError, match="no log"):
        cast("Any", Failed()).on_failure(failure)
    settled.assert_called_once_with(failure, True, False)
