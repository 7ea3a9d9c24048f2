"""Runs the SAP sandbox as a process: `python -m lab.sandbox.sap.main --port P --ledger FILE`."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from lab.sandbox.journal import JournalError
from lab.sandbox.sap.csrf import CsrfTokens
from lab.sandbox.sap.faults import FaultPlan, FaultSettings, problems_of
from lab.sandbox.sap.ledger import Ledger
from lab.sandbox.sap.service import SapSandbox, build_service
from lab.sandbox.sap.view import add_views
from lab.sandbox.serving import LOOPBACK, announce, listen, serve


def run(
    *,
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one")],
    ledger: Annotated[Path, typer.Option(help="file that keeps the documents")],
    seed: Annotated[int, typer.Option(help="same seed, same faults")] = 1,
    error_rate: Annotated[float, typer.Option(help="share of POSTs answered 500 or 503")] = 0.0,
    lost_rate: Annotated[float, typer.Option(help="share committed, their answer lost")] = 0.0,
    timeout_rate: Annotated[float, typer.Option(help="share never answered nor committed")] = 0.0,
    late_rate: Annotated[float, typer.Option(help="share committed after the connection was cut")] = 0.0,
    late_seconds: Annotated[float, typer.Option(help="longest time to such a late commit")] = 3.0,
    latency_ms: Annotated[str, typer.Option(help="LOW-HIGH, time to answer")] = "20-60",
    user: Annotated[str, typer.Option(help="basic authentication")] = "waybill",
    password: Annotated[str, typer.Option(help="basic authentication")] = "waybill",  # noqa: S107  # a sandbox
    token_seconds: Annotated[float, typer.Option(help="life of a CSRF token")] = 1800.0,
    token_uses: Annotated[int, typer.Option(help="POSTs per CSRF token; 0: no limit")] = 0,
    host: Annotated[str, typer.Option(help="address to listen on")] = LOOPBACK,
) -> None:
    """Run the SAP sandbox until SIGTERM; prints {"http": URL} once it listens."""
    knobs = {
        "error_rate": error_rate,
        "lost_rate": lost_rate,
        "timeout_rate": timeout_rate,
        "late_rate": late_rate,
        "late_seconds": late_seconds,
        "latency_ms": latency_ms.split("-"),
    }
    try:
        plan = FaultPlan(seed, FaultSettings.model_validate(knobs))
        books = Ledger(ledger)
    except ValidationError as error:
        raise SystemExit(f"cannot start the SAP sandbox: {'; '.join(problems_of(error))}") from error
    except JournalError as error:
        raise SystemExit(f"cannot start the SAP sandbox: {error}") from error
    tokens = CsrfTokens(lifetime_seconds=token_seconds, uses=token_uses)
    app = build_service(SapSandbox(books, plan, tokens, user=user, password=password))
    add_views(app)
    listening = listen(port, host)
    announce(http=f"http://{host}:{listening.getsockname()[1]}")
    serve(app, listening)


if __name__ == "__main__":
    typer.run(run)
