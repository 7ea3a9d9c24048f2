"""The OpenAPI document: FastAPI's description of the routes, and the schemas that FastAPI does not know.

The body of an order is parsed in one pass from its bytes, and problems are rendered by hand. The document describes
both from their models.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.problems import MEDIA_TYPE, Problem
from api.schemas import OrderRequest

_REF = "#/components/schemas/{model}"

ORDER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": _REF.format(model=OrderRequest.__name__)}}},
    }
}


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that are problem documents; a 500 is always possible."""
    return {
        status.value: {
            "description": status.phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model=Problem.__name__)}}},
        }
        for status in (*statuses, HTTPStatus.INTERNAL_SERVER_ERROR)
    }


def document(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        known = made.setdefault("components", {}).setdefault("schemas", {})
        for model in (OrderRequest, Problem):
            known.update(_schemas(model))
        app.openapi_schema = made
    return app.openapi_schema


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    return {**schema.pop("$defs", {}), model.__name__: schema}
