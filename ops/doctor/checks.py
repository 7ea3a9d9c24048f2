"""The checks of `waybill doctor`: each returns findings with their remedies.

A server that does not answer is a finding as well, and never an exception. Called by `ops.cli.doctor`.
"""

import asyncio
from importlib.metadata import version

import asyncpg
import httpx
from alembic.script import ScriptDirectory

from migrations.upgrade import alembic_config
from ops.doctor import broker, relay, watch
from ops.doctor.finding import Finding, Verdict, to_start
from orders.workflow import required_queues
from outbox.required_queues import required
from runtime.settings import Settings

LIBRARIES = ("celery", "kombu", "pika", "sqlalchemy", "asyncpg", "fastapi", "uvicorn")
OLDEST_POSTGRES = 15
DURABILITY = ("fsync", "full_page_writes")
TIMEOUT_SECONDS = 5


async def run_checks(settings: Settings, prometheus_url: str | None = None, *, local: bool = False) -> list[Finding]:
    """All findings, the good ones included. Reads only, and raises nothing for a fault that it finds.

    `local`: the target is the system of `make up`, where a supervisor starts programs, so the remedies differ.
    """
    found = await asyncio.gather(
        _postgres(settings, local=local),
        broker.rabbitmq(settings.amqp_url, local=local),
        _sap(settings),
        _smtp(settings),
        _api(settings, local=local),
        watch.prometheus(prometheus_url),
    )
    return [finding for findings in found for finding in findings] + [_times(settings), _libraries()]


async def _postgres(settings: Settings, *, local: bool) -> list[Finding]:
    try:
        connection = await asyncpg.connect(settings.database_url, timeout=TIMEOUT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        return [Finding(Verdict.BAD, "PostgreSQL", _text(error), "start it, or correct DATABASE_URL")]
    try:
        return [
            *await _postgres_server(connection),
            await _migrations(connection, settings),
            *await _outbox(connection),
            *await relay.relay(connection, local=local),
            *await watch.open_dead_letters(connection),
        ]
    finally:
        await connection.close()


async def _postgres_server(connection: asyncpg.Connection) -> list[Finding]:
    major = connection.get_server_version().major
    old = major < OLDEST_POSTGRES
    findings = [
        Finding(
            Verdict.BAD if old else Verdict.GOOD,
            "PostgreSQL",
            f"version {await connection.fetchval('SHOW server_version')}",
            f"upgrade to {OLDEST_POSTGRES} or newer" if old else "",
        )
    ]
    values = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in DURABILITY}
    values["synchronous_commit"] = await connection.fetchval("SHOW synchronous_commit")
    findings.extend(durability(name, value) for name, value in values.items())
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        findings.append(
            Finding(Verdict.BAD, "PostgreSQL", "is a standby, in recovery", "point DATABASE_URL at the primary")
        )
    return findings


def durability(name: str, value: str) -> Finding:
    """Check that a setting keeps every acknowledged commit through a power cut. Only "off" loses commits."""
    if value == "off":
        return Finding(Verdict.BAD, name, "off: an accepted order can be lost", f"ALTER SYSTEM SET {name} = on")
    return Finding(Verdict.GOOD, name, value)


async def _migrations(connection: asyncpg.Connection, settings: Settings) -> Finding:
    wanted = ScriptDirectory.from_config(alembic_config(settings.database_url)).get_current_head()
    try:
        found = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        found = None
    if found == wanted:
        return Finding(Verdict.GOOD, "migrations", f"at {found}")
    return Finding(Verdict.BAD, "migrations", f"at {found}, the code needs {wanted}", "run `waybill migrate`")


async def _outbox(connection: asyncpg.Connection) -> list[Finding]:
    try:
        noted = await required(connection)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []  # the finding on migrations gives the cause
    missing = sorted(set(required_queues()) - set(noted))
    if not missing:
        return [Finding(Verdict.GOOD, "required queues", f"{len(noted)} in outbox.destinations")]
    return [
        Finding(
            Verdict.BAD,
            "required queues",
            f"outbox.destinations lacks {', '.join(missing)}: the relay would not notice that they are missing",
            "run `waybill topology apply`",
        )
    ]


async def _sap(settings: Settings) -> list[Finding]:
    url = f"{settings.sap_url}/sap/opu/odata/sap/API_SALES_ORDER_SRV/"
    auth = (settings.sap_user, settings.sap_password.get_secret_value())
    return [await _http("SAP", url, "correct SAP_URL, or wait: orders wait too, and continue by themselves", auth)]


async def _api(settings: Settings, *, local: bool) -> list[Finding]:
    url = f"http://{settings.api_host}:{settings.api_port}/readyz"
    return [await _http("API", url, f"{to_start('api', local=local)}, or correct API_HOST and API_PORT")]


async def _http(subject: str, url: str, remedy: str, auth: tuple[str, str] | None = None) -> Finding:
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            response = await client.get(url, auth=auth)
    except httpx.HTTPError as error:
        return Finding(Verdict.BAD, subject, f"{url}: {_text(error)}", remedy)
    if response.is_success:
        return Finding(Verdict.GOOD, subject, f"{url} answers")
    if response.status_code in {401, 403}:
        remedy = f"correct {subject}_USER and {subject}_PASSWORD"
    return Finding(Verdict.BAD, subject, f"{url} answers {response.status_code}", remedy)


async def _smtp(settings: Settings) -> list[Finding]:
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(settings.smtp_host, settings.smtp_port)
            greeting = (await reader.readline()).decode(errors="replace").strip()
            writer.close()
    except (OSError, TimeoutError) as error:
        return [Finding(Verdict.BAD, "SMTP", f"{where}: {_text(error)}", "correct SMTP_HOST and SMTP_PORT")]
    if greeting.startswith("220"):
        return [Finding(Verdict.GOOD, "SMTP", f"{where} answers")]
    return [
        Finding(Verdict.BAD, "SMTP", f"{where} answers {greeting!r}", "let SMTP_HOST and SMTP_PORT name a mail server")
    ]


def _times(settings: Settings) -> Finding:
    """Check that a call to SAP ends before the lease of its claim does."""
    call, lease = settings.sap_timeout_seconds, settings.delivery_lease_seconds
    if call < lease:
        return Finding(Verdict.GOOD, "SAP time-out", f"{call:g} s, below the delivery lease of {lease:g} s")
    return Finding(
        Verdict.BAD,
        "SAP time-out",
        f"{call:g} s, the delivery lease is {lease:g} s: a second worker may start while the first still calls",
        "raise DELIVERY_LEASE_SECONDS or lower SAP_TIMEOUT_SECONDS",
    )


def _libraries() -> Finding:
    return Finding(Verdict.GOOD, "libraries", ", ".join(f"{name} {version(name)}" for name in LIBRARIES))


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
