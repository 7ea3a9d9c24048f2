"""A second PostgreSQL cluster, and the real pg_dump and pg_restore that carry a database to it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.stack.instance import Instance
from lab.stack.program import Child, clean_environment
from lab.stack.servers.obtain import native_postgres
from lab.stack.servers.postgres import binaries
from tests.support.paths import SESSIONS
from tests.support.probes.database import Asyncpg
from tests.support.servers import databases as real

# One transaction each, without waiting for the disk: nothing but the counter moves.
_BURN = """
DO $$ BEGIN
  WHILE pg_current_xact_id()::text::bigint < {xid} LOOP COMMIT; END LOOP;
END $$"""


@pytest.fixture(scope="module")
def other_cluster() -> Iterator[str]:
    """The URL of a server that shares nothing with the session's own."""
    with cluster() as url:
        yield url


@contextmanager
def cluster() -> Iterator[str]:
    """A private PostgreSQL with its own system identifier."""
    with real.session_folder(SESSIONS) as folder:
        instance = Instance(folder)
        with instance.locked():
            url, program = native_postgres(instance)
            server = Child(program, instance.mark)
            try:
                server.wait_ready()
                yield url
            finally:
                server.stop()


def dump(database_url: str, archive: Path) -> Path:
    """A dump of the whole database as it is now, while writers go on writing."""
    _run("pg_dump", "--format=custom", "--compress=none", f"--file={archive}", database_url)
    return archive


def restore(archive: Path, database_url: str, *sections: str) -> None:
    """Restore a dump, or those of its sections pre-data, data and post-data, into an empty database."""
    parts = [f"--section={section}" for section in sections]
    _run("pg_restore", "--exit-on-error", "--single-transaction", *parts, f"--dbname={database_url}", str(archive))


async def burn(connection: Asyncpg, xid: int) -> None:
    """Move the cluster's transaction counter past `xid`."""
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(_BURN.format(xid=xid))
    await connection.execute("RESET synchronous_commit")


async def counter(connection: Asyncpg) -> int:
    """The next transaction id, without taking one."""
    return int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))


def _run(program: str, *arguments: str) -> None:
    result = subprocess.run(
        [binaries() / program, *arguments], env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{program}: {result.stderr}"
