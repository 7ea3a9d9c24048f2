"""The layer within `api.traced`: it counts and times requests, and renders uncaught exceptions as problem documents."""

from http import HTTPStatus
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import ProblemError, outbox_full, render, schema_missing, unavailable
from api.traced import LONGEST_PATH
from outbox.missing_partition import NoSegmentError
from runtime.database import lacks_schema, may_pass
from runtime.logging import get_logger
from runtime.redaction.redact import excerpt
from runtime.tracing import tracer

CLIENT_LEFT = 499  # not a status of HTTP; proxies use it in their logs

log = get_logger(__name__)


class AnswerBrokeError(Exception):
    """A failure after the answer had begun; the log event `answer_broke` has its cause."""


class Observed:
    """ASGI middleware without a task or a buffer of its own, which costs a few microseconds per request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, count its answer and render its exception."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = CLIENT_LEFT

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            log.info("client_left", method=scope["method"], path=scope["path"])
        except Exception as error:
            if status != CLIENT_LEFT:
                tracer.failed(error)
                log.exception("answer_broke", method=scope["method"], path=excerpt(scope["path"], LONGEST_PATH))
                # Only a broken connection can still show that the answer is incomplete. The server logs this exception
                # outside of the request and its redaction: so it holds nothing of the cause.
                raise AnswerBrokeError from None
            await render(_problem_of(error, scope), scope["path"])(scope, receive, watch)
        finally:
            self._metrics.answered(scope, status, perf_counter() - started)


def _problem_of(error: Exception, scope: Scope) -> ProblemError:
    if may_pass(error):
        log.warning("database_away", path=scope["path"], error=excerpt(f"{type(error).__name__}: {error}", 500))
        # A commit whose answer was lost has happened; the reference makes a second POST safe.
        return unavailable("the database cannot be reached; send the same request again, nothing is done twice")
    if lacks_schema(error):
        log.error("schema_missing", path=scope["path"], error=excerpt(str(error), 500))
        return schema_missing()
    if isinstance(error, NoSegmentError):
        log.error("outbox_full", path=scope["path"], error=str(error))
        return outbox_full("orders cannot be recorded at the moment; send the same request again, nothing was stored")
    tracer.failed(error)
    log.error("request_failed", method=scope["method"], path=scope["path"], exc_info=error)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "something failed on our side; it is in our log with its cause"
    )
