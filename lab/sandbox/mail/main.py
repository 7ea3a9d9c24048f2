"""Runs the SMTP inbox as a process: `python -m lab.sandbox.mail.main --port P --http-port Q --inbox DIR`.

Mail and its HTTP view share one event loop, so the list never lags behind what SMTP has acknowledged.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from fastapi import FastAPI

from lab.sandbox.mail.inbox import Inbox, InboxError
from lab.sandbox.mail.smtp import Postmaster
from lab.sandbox.mail.view import build_view
from lab.sandbox.serving import LOOPBACK, announce, listen, serve


def run(
    *,
    port: Annotated[int, typer.Option(help="SMTP port; 0 takes a free one")],
    http_port: Annotated[int, typer.Option(help="port of the HTTP view; 0 takes a free one")],
    inbox: Annotated[Path, typer.Option(help="folder that keeps the messages")],
    host: Annotated[str, typer.Option(help="address to listen on")] = LOOPBACK,
) -> None:
    """Run the SMTP inbox until SIGTERM; prints {"http": URL, "smtp": "host:port"} once it listens."""
    try:
        folder = Inbox(inbox)
    except InboxError as error:
        raise SystemExit(f"cannot start the SMTP inbox: {error}") from error
    postmaster = Postmaster(folder)
    smtp, http = listen(port, host), listen(http_port, host)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        server = await asyncio.get_running_loop().create_server(postmaster.protocol, sock=smtp)
        yield
        server.close()
        folder.close()

    announce(http=f"http://{host}:{http.getsockname()[1]}", smtp=f"{host}:{smtp.getsockname()[1]}")
    serve(build_view(postmaster, lifespan), http)


if __name__ == "__main__":
    typer.run(run)
