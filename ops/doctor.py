"""What could be wrong with a system, asked of the system itself: each check returns what it found and what to do.

A check that cannot reach its server says so as a finding; the doctor never fails because the patient is ill.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version

import asyncpg
import httpx
from alembic.script import ScriptDirectory

from migrations.upgrade import alembic_config
from ops import broker, doctor_watch
from ops.doctor_finding import Finding, Verdict
from ops.errors import ServerError
from orders.workflow import BY_QUEUE, STEPS, Pool, required_queues
from runtime.settings import Settings

LIBRARIES = ("celery", "kombu", "pika", "sqlalchemy", "asyncpg", "fastapi", "uvicorn")
OLDEST_RABBITMQ = (3, 10)
OLDEST_POSTGRES = 15
DURABILITY = ("fsync", "full_page_writes")
BACKLOG = 10_000
# Whom a pool's steps act on: its worker stops consuming while nobody is there.
OUTSIDE: dict[Pool, str] = {"sap": "SAP", "email": "the mail server"}
TIMEOUT_SECONDS = 5


async def examine(settings: Settings, prometheus_url: str | None = None) -> list[Finding]:
    """Every finding, good ones too. Reads only, and never raises for what it finds."""
    checks: list[Callable[[Settings], Awaitable[list[Finding]]]] = [_postgres, _rabbitmq, _sap, _smtp, _api]
    found = await asyncio.gather(*(check(settings) for check in checks), doctor_watch.prometheus(prometheus_url))
    return [finding for findings in found for finding in findings] + [_times(settings), _libraries()]


async def _postgres(settings: Settings) -> list[Finding]:
    try:
        connection = await asyncpg.connect(settings.database_url, timeout=TIMEOUT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        return [Finding(Verdict.BAD, "PostgreSQL", _said(error), "start it, or correct DATABASE_URL")]
    try:
        return [
            *await _postgres_server(connection),
            await _migrations(connection, settings),
            *await _outbox(connection),
            *await doctor_watch.open_letters(connection),
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
    """Whether a setting keeps every acknowledged commit through a power cut. Only "off" gives one up."""
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
        rows = await connection.fetch("SELECT queue FROM outbox.destinations")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []  # the migrations' own finding says why
    missing = sorted(set(required_queues()) - {row["queue"] for row in rows})
    if not missing:
        return [Finding(Verdict.GOOD, "required queues", f"{len(rows)} in outbox.destinations")]
    return [
        Finding(
            Verdict.BAD,
            "required queues",
            f"outbox.destinations lacks {', '.join(missing)}: the relay would not miss them",
            "run `waybill topology apply`",
        )
    ]


async def _rabbitmq(settings: Settings) -> list[Finding]:
    return await asyncio.to_thread(_ask_rabbitmq, settings.amqp_url)


def _ask_rabbitmq(amqp_url: str) -> list[Finding]:
    dead = {step.dead_letter_queue for step in STEPS}
    try:
        with broker.connection(amqp_url) as link:
            product = broker.version(link)
            states = broker.queue_states(link, [*required_queues(), *sorted(dead)])
    except ServerError as error:
        return [Finding(Verdict.BAD, "RabbitMQ", str(error), "start it, or correct AMQP_URL")]
    return [rabbitmq_version(product), *queue_findings(states), collector(states)]


def rabbitmq_version(product: str) -> Finding:
    """Whether the broker is new enough: at-least-once dead-lettering came with 3.10."""
    numbers = tuple(map(int, re.findall(r"\d+", product)[:2]))
    if numbers >= OLDEST_RABBITMQ:
        return Finding(Verdict.GOOD, "RabbitMQ", product)
    return Finding(Verdict.BAD, "RabbitMQ", f"{product}: no safe dead-lettering", "upgrade to 3.10 or newer")


def queue_findings(states: dict[str, broker.QueueState | None]) -> Iterator[Finding]:
    """What each queue's state means; nothing at all about a queue that is as it should be."""
    for queue, state in states.items():
        if state is None:
            yield Finding(Verdict.BAD, f"queue {queue}", "does not exist", "run `waybill topology apply`")
        elif queue not in BY_QUEUE:
            if state.messages:
                yield Finding(
                    Verdict.WARNING,
                    f"queue {queue}",
                    f"{state.messages} messages",
                    "kept there; start `waybill collector`, which makes them letters for `waybill dead-letters`",
                )
        elif not state.consumers:
            yield Finding(
                Verdict.BAD if state.messages else Verdict.WARNING,
                f"queue {queue}",
                f"{state.messages} messages and no consumer",
                unconsumed(BY_QUEUE[queue].pool),
            )
        elif state.messages > BACKLOG:
            yield Finding(
                Verdict.WARNING, f"queue {queue}", f"{state.messages} messages wait", "add workers of that pool"
            )


def unconsumed(pool: Pool) -> str:
    """What to do about a step's queue that nobody takes from."""
    start = f"start `waybill worker {pool}`"
    if pool not in OUTSIDE:
        return start
    return f"{start}; one that runs has let go of it while {OUTSIDE[pool]} is away, and takes it up again by itself"


def collector(states: dict[str, broker.QueueState | None]) -> Finding:
    """Whether a collector seems to run. It fetches and is no consumer that a queue would know, but leaves none full."""
    full = [queue for queue, state in states.items() if queue not in BY_QUEUE and state and state.messages]
    if not full:
        return Finding(Verdict.GOOD, "collector", "nothing waits for it")
    return Finding(
        Verdict.WARNING,
        "collector",
        f"{', '.join(full)} wait for one: none runs, or it cannot store letters",
        "start `waybill collector`; where one runs, its log says what is wrong",
    )


async def _sap(settings: Settings) -> list[Finding]:
    url = f"{settings.sap_url}/sap/opu/odata/sap/API_SALES_ORDER_SRV/"
    auth = (settings.sap_user, settings.sap_password.get_secret_value())
    return [await _http("SAP", url, "correct SAP_URL, or wait: orders do too, and go on by themselves", auth)]


async def _api(settings: Settings) -> list[Finding]:
    url = f"http://{settings.api_host}:{settings.api_port}/readyz"
    return [await _http("API", url, "start `waybill api`, or correct API_HOST and API_PORT")]


async def _http(subject: str, url: str, remedy: str, auth: tuple[str, str] | None = None) -> Finding:
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            response = await client.get(url, auth=auth)
    except httpx.HTTPError as error:
        return Finding(Verdict.BAD, subject, f"{url}: {_said(error)}", remedy)
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
        return [Finding(Verdict.BAD, "SMTP", f"{where}: {_said(error)}", "correct SMTP_HOST and SMTP_PORT")]
    if greeting.startswith("220"):
        return [Finding(Verdict.GOOD, "SMTP", f"{where} answers")]
    return [
        Finding(Verdict.BAD, "SMTP", f"{where} says {greeting!r}", "let SMTP_HOST and SMTP_PORT name a mail server")
    ]


def _times(settings: Settings) -> Finding:
    """A call to SAP must be over before its claim could pass for abandoned."""
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


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
