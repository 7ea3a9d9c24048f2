"""The routes' dependencies: made when the application starts, closed when it ends."""

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.metrics import Metrics
from outbox.notify import Hint
from runtime.documents import DocumentStore
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """`single` is an engine in autocommit. `hint` is sent after a statement that recorded an event."""

    settings: Settings
    single: AsyncEngine
    hint: Hint
    documents: DocumentStore
    metrics: Metrics


def services(request: Request) -> Services:
    """The services of the application that a request came to."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
