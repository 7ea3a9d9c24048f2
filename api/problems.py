"""Every refusal and failure as RFC 9457 `application/problem+json`: the one error tree and the one renderer of HTTP.

Handlers raise a ProblemError; any other exception becomes a 503 when the database is away and otherwise a
500 that shows nothing internal. `type` is `urn:waybill:problem:<slug>`, stable for programs; `detail` is a
sentence for people.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.field_errors import FieldError, from_pydantic, sentence

MEDIA_TYPE = "application/problem+json"
OUTBOX_FULL_RETRY_AFTER_SECONDS = 30  # an operator has to start the relay
RETRY_AFTER_SECONDS = 2  # Postgres restarts in about a second; a client that waits longer loses nothing


class ProblemError(Exception):
    """A request that cannot be answered as asked. `slug` names the kind of problem in its `type` and in metrics."""

    def __init__(
        self,
        status: HTTPStatus,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.headers = headers or {}
        self.members = members or {}


class FieldProblem(BaseModel):
    """One field that is not acceptable."""

    field: str = Field(examples=["lines[0].quantity"])
    value: Any = Field(description="what was sent, shortened when long; null where nothing was", examples=[0])
    message: str = Field(examples=["must be at least 1"])


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:waybill:problem:unacceptable-fields"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["lines[0].quantity: must be at least 1"])
    instance: str = Field(description="the path that was asked for", examples=["/orders"])
    errors: list[FieldProblem] | None = Field(default=None, description="with status 422: each field that is wrong")
    order_id: str | None = Field(default=None, description="with status 409: the order that has the reference")


def unacceptable(errors: list[FieldError]) -> ProblemError:
    """The 422 that names each field and value; at least one error."""
    shown = [{"field": error.field, "value": error.value, "message": error.message} for error in errors]
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unacceptable-fields", sentence(errors), members={"errors": shown}
    )


def not_found(detail: str) -> ProblemError:
    """The 404 of a resource that does not exist, under a route that does."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)


def unavailable(detail: str) -> ProblemError:
    """The 503 of a database that is away."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers=headers)


def schema_missing() -> ProblemError:
    """The 503 of a database that is older than this program, or empty."""
    return unavailable("the database lacks the schema; `waybill migrate` makes it")


def outbox_full(detail: str) -> ProblemError:
    """The 503 of an outbox whose last segment is used up."""
    headers = {"Retry-After": str(OUTBOX_FULL_RETRY_AFTER_SECONDS)}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "outbox-full", detail, headers=headers)


def render(problem: ProblemError, path: str) -> Response:
    """The HTTP response of a problem at `path`."""
    body = {
        "type": f"urn:waybill:problem:{problem.slug}",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "instance": quote(path[:200], safe="/~:@!$&'()*+,;="),
        **problem.members,
    }
    return Response(json.dumps(body), problem.status.value, dict(problem.headers), MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer a ProblemError."""
    assert isinstance(error, ProblemError)
    return render(error, request.url.path)


async def on_parameters(request: Request, error: Exception) -> Response:
    """Answer query parameters that FastAPI refused."""
    assert isinstance(error, RequestValidationError)
    return render(unacceptable(from_pydantic(error.errors(), skip=1)), request.url.path)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    path = request.url.path
    details = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {path[:200]!r}; /docs shows what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method[:20]} is not possible here; see the Allow header",
    }
    slug = status.phrase.lower().replace(" ", "-")
    problem = ProblemError(status, slug, details.get(status, status.description), headers=error.headers)
    return render(problem, path)
