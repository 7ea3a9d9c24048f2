"""An order as a client sends it, and an application to send it to in this very process."""

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.app import create_app
from api.schemas import EXAMPLE
from runtime.settings import Settings


@dataclass
class Api:
    """An application that has started, a client of it, and where it keeps documents."""

    app: FastAPI
    client: httpx.AsyncClient
    settings: Settings


def order_body(**changes: Any) -> dict[str, Any]:
    """A plausible order; `changes` are its top-level fields."""
    return {**copy.deepcopy(EXAMPLE), **changes}


def api_settings(database_url: str, documents: Path, **changes: Any) -> Settings:
    """Settings of an API; nothing here needs a broker."""
    return Settings(
        database_url=database_url, amqp_url="amqp://guest:guest@127.0.0.1:1/", documents_dir=documents, **changes
    )


@asynccontextmanager
async def running_api(database_url: str, documents: Path, **changes: Any) -> AsyncIterator[Api]:
    """The real application without a socket: its lifespan runs, requests go to it directly."""
    settings = api_settings(database_url, documents, **changes)
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield Api(app, client, settings)
