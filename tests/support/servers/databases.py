"""Real servers for the tests: one PostgreSQL and one RabbitMQ per session, one database per test.

Databases are copies of a template that the real migrations made once. The broker is shared: queues that
a test declared are deleted after it, which takes a few tens of milliseconds, where a virtual host would take a second.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from lab.stack.errors import InstanceBusyError
from lab.stack.instance import Instance
from tests.support.paths import ROOT


def sweep(folder: Path) -> None:
    """Stop and delete the servers of killed sessions below `folder`; living sessions are left alone."""
    for lock in folder.glob("*.lock"):
        instance = Instance(lock.with_suffix(""))
        try:
            with instance.locked():
                instance.stop_processes()
                shutil.rmtree(instance.folder, ignore_errors=True)  # its session may be ending, and delete it too
                lock.unlink(missing_ok=True)
        except InstanceBusyError:
            continue


@contextmanager
def session_folder(folder: Path) -> Iterator[Path]:
    """A folder for one session, gone afterwards."""
    sweep(folder)
    own = folder / f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        own.with_suffix(".lock").unlink(missing_ok=True)


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def run_sql(url: str, *statements: str) -> None:
    """Execute each statement outside a transaction."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@contextmanager
def database(server_url: str, template: str = "template0") -> Iterator[str]:
    """The URL of a new database, a copy of `template`; dropped afterwards, with clients still connected.

    A migrated one numbers its orders from somewhere of its own: tests share one SAP, which finds orders by number.
    """
    name = f"waybill_test_{uuid.uuid4().hex[:12]}"
    run_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = with_database(server_url, name)
    try:
        if template != "template0":
            run_sql(url, f"SELECT setval('order_numbers', {secrets.randbelow(10**12) + 10**8})")
        yield url
    finally:
        run_sql(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def migrate(database_url: str) -> None:
    """Run the real `waybill migrate` on a database; a failure shows its output."""
    result = subprocess.run(
        [sys.executable, "-m", "ops.cli", "migrate"],
        cwd=ROOT,
        # Migrations need no broker, but the settings ask for both addresses.
        env={**os.environ, "DATABASE_URL": database_url, "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"migrations failed:\n{result.stdout}\n{result.stderr}"
