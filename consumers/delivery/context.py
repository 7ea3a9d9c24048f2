"""What a worker process has at hand: settings, database, the outside world. Built after the fork, closed at its end."""

import os
import socket
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.adapters.mailer import Mailer
from consumers.adapters.sap import SapClient
from runtime.database import make_engine
from runtime.documents import DocumentStore, FileDocumentStore
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Workplace:
    """Handed to every step. Nothing in it connects before it is used. `worker` is who works here: program@host/pid."""

    settings: Settings
    engine: AsyncEngine
    sap: SapClient
    mailer: Mailer
    documents: DocumentStore
    worker: str

    async def close(self) -> None:
        """Give back every connection."""
        await self.sap.aclose()
        await self.mailer.close()
        await self.engine.dispose()


def open_workplace(settings: Settings, name: str) -> Workplace:
    """A workplace whose database connections carry `name`."""
    return Workplace(
        settings=settings,
        engine=make_engine(settings, name),
        sap=SapClient(settings),
        mailer=Mailer(settings),
        documents=FileDocumentStore(settings.documents_dir),
        worker=f"{name.removeprefix('waybill-')}@{socket.gethostname()}/{os.getpid()}",
    )
