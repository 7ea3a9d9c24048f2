"""What a worker process has at hand: settings, database, the outside world. Built after the fork, closed at its end."""

import os
import socket
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.adapters.erp import Erp
from consumers.adapters.erp_factory import make_erp
from consumers.adapters.mailer import Mailer
from runtime.database import make_engine
from runtime.document_store import document_store
from runtime.documents import DocumentStore
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Workplace:
    """Handed to every step. Nothing in it connects before it is used. `worker` is who works here: program@host/pid."""

    settings: Settings
    engine: AsyncEngine
    erp: Erp
    mailer: Mailer
    documents: DocumentStore
    worker: str

    async def close(self) -> None:
        """Give back every connection."""
        await self.erp.aclose()
        await self.mailer.close()
        await self.engine.dispose()


def open_workplace(settings: Settings, name: str) -> Workplace:
    """A workplace whose database connections carry `name`."""
    return Workplace(
        settings=settings,
        engine=make_engine(settings, name),
        erp=make_erp(settings),
        mailer=Mailer(settings),
        documents=document_store(settings),
        worker=f"{name.removeprefix('waybill-')}@{socket.gethostname()}/{os.getpid()}",
    )
