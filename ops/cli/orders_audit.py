"""`waybill orders audit`: the effects that are missing, overdue or doubled. Runs `ops.audit.report`."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.exits import guarded
from ops.errors import OpsError
from ops.time_arguments import parse_time

if TYPE_CHECKING:
    from ops.audit.report import AuditReport, Probes
    from orders.audit.queries import Window
    from runtime.settings import Settings


def orders_audit(
    since: Annotated[str, typer.Option(help="orders placed since then: an age (2h, 3d) or a time in ISO 8601")] = "1d",
    until: Annotated[str, typer.Option(help="orders placed before then")] = "0s",
    deadline: Annotated[
        float | None,
        typer.Option(help="seconds from placement for every effect; default: each step's deadline", min=0),
    ] = None,
    sap_view: Annotated[
        str | None,
        typer.Option(help="URL of a SAP sandbox; default: that of `make up`, else SAP order by order"),
    ] = None,
    mail_view: Annotated[
        str | None,
        typer.Option(help="URL of a mail sandbox; default: that of `make up`, else the tables are trusted"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check that each order's effects exist, each once; exit code 1 if one is overdue or doubled or a sum is wrong."""
    from rich.console import Console

    from ops.cli import audit_view

    console = Console(highlight=False)
    report = guarded(_audit, since, until, deadline, sap_view, mail_view)
    if as_json:
        typer.echo(audit_view.as_json(report))
    else:
        audit_view.print_report(console, report)
    raise typer.Exit(0 if report.clean else 1)


def _audit(
    since: str, until: str, deadline: float | None, sap_view: str | None, mail_view: str | None
) -> "AuditReport":
    import asyncio

    from ops.target import target_settings
    from orders.audit.queries import Window
    from runtime.database import is_unavailable

    now = datetime.now(UTC)
    window = Window(parse_time("--since", since, now), parse_time("--until", until, now))
    settings = target_settings()
    probes = _probes(settings, sap_view, mail_view)
    allowed = None if deadline is None else timedelta(seconds=deadline)
    try:
        return asyncio.run(_run(settings, probes, window, allowed))
    except Exception as error:
        if is_unavailable(error):
            raise OpsError(f"PostgreSQL does not answer: {error}") from error
        raise


def _probes(settings: "Settings", sap_view: str | None, mail_view: str | None) -> "Probes":
    """The probes of the effects: the given URLs, else those of the local system if it is the target."""
    from ops.audit.probes import SapOverOData, SapSandbox
    from ops.audit.report import Probes
    from ops.target import local_system
    from runtime.document_store import document_store

    system = local_system()
    if system is not None and system.environment["DATABASE_URL"] == settings.database_url:
        sap_view, mail_view = sap_view or system.pages["sap"], mail_view or system.pages["smtp"]
    sap = SapSandbox(sap_view) if sap_view else SapOverOData(settings)
    return Probes(sap, mail_view, document_store(settings))


async def _run(settings: "Settings", probes: "Probes", window: "Window", deadline: timedelta | None) -> "AuditReport":
    from ops.audit.report import audit
    from runtime.database import make_engine

    engine = make_engine(settings, "waybill orders audit")
    try:
        return await audit(engine, probes, window, deadline)
    finally:
        await engine.dispose()
