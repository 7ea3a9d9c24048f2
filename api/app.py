"""The HTTP application and its process: one event loop, plain coroutines, nothing done twice on the way of an order."""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException

from api import openapi
from api.metrics import Metrics
from api.observed import Observed
from api.problems import ProblemError, on_http_exception, on_parameters, on_problem
from api.routes import health, orders
from api.services import Services
from api.traced import Traced
from outbox.notify import Hint
from runtime.database import autocommit, make_engine
from runtime.document_store import document_store
from runtime.settings import Settings
from runtime.tracing import tracer

_VERSION = "0.1.0"
# On SIGTERM requests in flight are answered; the longest statement may take 30 s, the rest is margin.
STOP_SECONDS = 40
# FastAPI's own telemetry would export clients' values. Requests are traced by `api.traced`.
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
KEEP_ALIVE_SECONDS = 75  # longer than the idle time of usual proxies, so that the proxy closes first


def create_app(settings: Settings) -> FastAPI:
    """The application. Its lifespan owns the connections; Postgres may be away when it starts."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(settings, "waybill-api")
        hint = Hint(settings.database_url)
        documents = document_store(settings)
        app.state.services = Services(settings, autocommit(engine), hint, documents, metrics)
        hint.open()
        try:
            yield
        finally:
            await hint.close()
            await engine.dispose()

    app = FastAPI(
        title="Waybill",
        version=_VERSION,
        description="Takes orders and makes sure that everything an order sets off really happens, once.",
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.add_middleware(Observed, metrics=metrics)
    app.add_middleware(Traced)  # the last one added is the outermost
    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RequestValidationError, on_parameters)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.include_router(orders.router)
    app.include_router(health.router)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, answer what was accepted, and end with exit code 0."""
    # uvicorn stops in good order and then raises the signal again, for the handler that was there before: this one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    tracer.set_up(settings, "api")
    try:
        uvicorn.run(
            create_app(settings),
            host=settings.api_host,
            port=settings.api_port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # Without it a pipelined request starts in the context of the one before it and takes over its variables.
            reset_contextvars=True,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    finally:
        tracer.shut_down()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
