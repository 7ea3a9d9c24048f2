"""`waybill orders audit`: what is overdue, where it stands, and what was done twice."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.exits import guarded
from ops.errors import OpsError
from ops.time_arguments import moment

if TYPE_CHECKING:
    from ops.audit.report import Places, Report
    from orders.audit.queries import Window
    from runtime.settings import Settings


def orders_audit(
    since: Annotated[
        str, typer.Option(help="orders placed from then on: '2h', '3d' ago, or a time in ISO 8601")
    ] = "1d",
    until: Annotated[str, typer.Option(help="and before then")] = "0s",
    deadline: Annotated[
        float | None, typer.Option(help="seconds from placement, instead of each step's own", min=0)
    ] = None,
    sap_view: Annotated[
        str | None, typer.Option(help="a SAP sandbox, read as a whole; default: `make up`'s, else SAP order by order")
    ] = None,
    mail_view: Annotated[
        str | None, typer.Option(help="an inbox's view; default: `make up`'s, else the inbox table is believed")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Hold every order against the effects it owes, where they are; exit code 1 when not all is as it has to be."""
    from rich.console import Console

    from ops.cli import audit_view

    console = Console(highlight=False)
    report = guarded(_audited, since, until, deadline, sap_view, mail_view)
    if as_json:
        typer.echo(audit_view.as_json(report))
    else:
        audit_view.print_report(console, report)
    raise typer.Exit(0 if report.clean else 1)


def _audited(since: str, until: str, deadline: float | None, sap_view: str | None, mail_view: str | None) -> "Report":
    import asyncio

    from ops.target import settings_in_question
    from orders.audit.queries import Window
    from runtime.database import is_unavailable

    now = datetime.now(UTC)
    window = Window(moment("--since", since, now), moment("--until", until, now))
    settings = settings_in_question()
    places = _places(settings, sap_view, mail_view)
    allowed = None if deadline is None else timedelta(seconds=deadline)
    try:
        return asyncio.run(_run(settings, places, window, allowed))
    except Exception as error:
        if is_unavailable(error):
            raise OpsError(f"PostgreSQL does not answer: {error}") from error
        raise


def _places(settings: "Settings", sap_view: str | None, mail_view: str | None) -> "Places":
    """Where to look: what was named, else what `make up` started when the question is about it."""
    from ops.audit.probes import SapOverOData, SapSandbox
    from ops.audit.report import Places
    from ops.target import local_system
    from runtime.document_store import document_store

    system = local_system()
    if system is not None and system.environment["DATABASE_URL"] == settings.database_url:
        sap_view, mail_view = sap_view or system.pages["sap"], mail_view or system.pages["smtp"]
    sap = SapSandbox(sap_view) if sap_view else SapOverOData(settings)
    return Places(sap, mail_view, document_store(settings))


async def _run(settings: "Settings", places: "Places", window: "Window", deadline: timedelta | None) -> "Report":
    from ops.audit.report import audit
    from runtime.database import make_engine

    engine = make_engine(settings, "waybill orders audit")
    try:
        return await audit(engine, places, window, deadline)
    finally:
        await engine.dispose()
