"""The routes of probes and scrapers: is the process alive, can it accept orders, what has it counted."""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy.exc import ProgrammingError
from starlette.responses import Response

from api.openapi import problems
from api.problems import schema_missing
from api.services import services
from outbox.record import check_table

router = APIRouter(tags=["operations"])

READY_SECONDS = 2.0  # a probe's usual patience is a few seconds


class HealthView(BaseModel):
    """A process that can answer."""

    status: str


@router.get("/healthz", response_model=HealthView, summary="Is the process alive?", responses=problems())
async def healthz() -> Response:
    """Answers as long as the process runs; does not query the database."""
    return _ok()


@router.get(
    "/readyz",
    response_model=HealthView,
    summary="Can orders be accepted?",
    responses=problems(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def readyz(request: Request) -> Response:
    """Answers 200 when the database is there and has the schema, else 503."""
    try:
        async with asyncio.timeout(READY_SECONDS), services(request).single.connect() as tx:
            await check_table(tx)
    except ProgrammingError as error:
        raise schema_missing() from error
    return _ok()


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus's text format."""
    return Response(generate_latest(services(request).metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _ok() -> Response:
    return Response('{"status":"ok"}', media_type="application/json")
