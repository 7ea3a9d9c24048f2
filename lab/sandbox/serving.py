"""Runs a sandbox app on uvicorn: ready when announced, exit code 0 after SIGTERM, connections that a route can cut.

The listening socket is bound here, so port 0 gives a free port; one JSON line on stdout names it.
"""

import json
import signal
import socket

import typer
import uvicorn
from fastapi import FastAPI, Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LOOPBACK = "127.0.0.1"
_TRANSPORT = "waybill.sandbox.transport"


class _SeverableProtocol(HttpToolsProtocol):
    """Lets a route reach its TCP connection, which ASGI hides."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


def sever(request: Request) -> None:
    """Abort the request's TCP connection: the client gets a reset and never an answer."""
    request.scope["extensions"][_TRANSPORT]["transport"].abort()


async def gone(request: Request) -> None:
    """Return once the client has gone. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """A listening socket; port 0 lets the system choose."""
    try:
        return socket.create_server((host, port), backlog=1024)
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}; free it or choose another") from error


def announce(**addresses: str) -> None:
    """Print where the sandbox listens, as one JSON line; connections are accepted from now on."""
    typer.echo(json.dumps(addresses))


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs and return."""
    config = uvicorn.Config(
        app,
        http=_SeverableProtocol,
        log_level="warning",
        access_log=False,
        # Longer than any client keeps an idle connection: the client closes first and no request meets a closing one.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,  # seconds for requests that hang on purpose
    )
    server = uvicorn.Server(config)

    def leave(*_signal: object) -> None:
        """Handles a signal before uvicorn handles any, and the one that uvicorn raises again after it has stopped."""
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    server.run(sockets=[listening])
