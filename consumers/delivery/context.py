"""The resources of a worker process: settings, database, name. Made after the fork, closed when the process ends.

Adapters to the outside world are not among them: each step makes its own (`consumers.delivery.step_kinds`).
"""

import os
import socket
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.delivery.transactions import Transactions
from runtime.database import make_engine
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The resources that all steps share. None of them connects before it is used. `worker` is program@host/pid."""

    settings: Settings
    engine: AsyncEngine
    transactions: Transactions
    worker: str

    async def close(self) -> None:
        """Give back every connection."""
        await self.engine.dispose()


def open_context(settings: Settings, name: str) -> WorkerContext:
    """A context whose database connections carry `name`."""
    engine = make_engine(settings, name)
    worker = f"{name.removeprefix('waybill-')}@{socket.gethostname()}/{os.getpid()}"
    return WorkerContext(settings, engine, Transactions(engine), worker)
