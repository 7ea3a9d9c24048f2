"""The HTTP view of the SMTP inbox: its messages as JSON, as HTML and raw, and the refusal rules."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from lab.sandbox.mail.inbox import StoredMessage
from lab.sandbox.mail.smtp import Postmaster, Refusal

_LISTED = 200

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_router = APIRouter()


def build_view(postmaster: Postmaster, lifespan: Lifespan) -> FastAPI:
    """The app; `lifespan` runs the SMTP side on the same loop."""
    app = FastAPI(title="SMTP inbox", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.postmaster = postmaster
    app.include_router(_router)
    return app


def _postmaster_of(request: Request) -> Postmaster:
    postmaster: Postmaster = request.app.state.postmaster
    return postmaster


_Postmaster = Annotated[Postmaster, Depends(_postmaster_of)]


@_router.get("/healthz")
async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


@_router.get("/counts")
async def _counts(postmaster: _Postmaster) -> dict[str, int]:
    return {
        "messages": len(postmaster.inbox.messages),
        "refused_for_now": postmaster.refused[451],
        "refused_for_good": postmaster.refused[550],
    }


@_router.get("/messages")
async def _messages(postmaster: _Postmaster) -> JSONResponse:
    return JSONResponse([_row(message) for message in postmaster.inbox.messages])


@_router.get("/messages/{number}")
async def _raw(number: int, postmaster: _Postmaster) -> FileResponse:
    path = postmaster.inbox.path(number)
    if path is None:
        raise HTTPException(404, f"there is no message {number}")
    return FileResponse(path, media_type="message/rfc822", filename=path.name)


@_router.get("/refusals")
async def _refusals(postmaster: _Postmaster) -> list[Refusal]:
    return list(postmaster.refusals)


@_router.put("/refusals")
async def _refuse(refusals: list[Refusal], postmaster: _Postmaster) -> list[Refusal]:
    """Replace all rules; the first that matches decides."""
    postmaster.refusals = tuple(refusals)
    return refusals


@_router.get("/", response_class=HTMLResponse)
async def _page(postmaster: _Postmaster) -> str:
    messages = postmaster.inbox.messages
    rows = "".join(_html_row(message) for message in reversed(messages[-_LISTED:]))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>SMTP inbox</title>'
        "<style>body{font:14px system-ui;margin:2em}td,th{padding:2px 12px;text-align:left}</style>"
        f"<h1>SMTP inbox</h1><p>{len(messages)} messages; the newest {_LISTED}:</p>"
        f"<table><tr><th></th><th>to</th><th>subject</th><th>from</th><th>date</th></tr>{rows}</table></html>"
    )


def _html_row(message: StoredMessage) -> str:
    link = f'<a href="/messages/{message.number}">{message.number}</a>'
    texts = (", ".join(message.recipients), message.subject, message.sender, message.date)
    return f"<tr><td>{link}</td>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>"


def _row(message: StoredMessage) -> dict[str, Any]:
    return {
        "number": message.number,
        "message_id": message.message_id,
        "from": message.sender,
        "to": list(message.recipients),
        "subject": message.subject,
        "date": message.date,
        "file": message.file,
    }
