"""One engine per process over asyncpg, and the two ways to use it.

`engine.begin()` opens a transaction that its opener commits. `autocommit(engine)` is for a change that is one
statement: the statement is the transaction, and BEGIN and COMMIT cost no round trips.
"""

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from runtime.settings import Settings


def make_engine(settings: Settings, application_name: str) -> AsyncEngine:
    """An engine whose connections Postgres shows under `application_name`.

    Steps never leave a transaction open while they wait for an external system. The server ends an idle transaction
    after a minute, because it holds locks and keeps dead rows alive.
    """
    return create_async_engine(
        async_url(settings.database_url),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=False,
        # Parameters hold names and addresses of customers, and an error's text is logged and stored.
        hide_parameters=True,
        connect_args={
            "timeout": 10,
            "server_settings": {
                "application_name": application_name,
                "timezone": "UTC",
                "idle_in_transaction_session_timeout": "60s",
                "lock_timeout": "10s",
                "statement_timeout": "30s",
            },
        },
    )


def async_url(database_url: str) -> str:
    """The same address for SQLAlchemy's asyncpg dialect."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    return url.render_as_string(hide_password=False)


def autocommit(engine: AsyncEngine) -> AsyncEngine:
    """The same pool, each statement its own transaction."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


# SQLSTATEs of a server that takes no work: classes 08 connection and 53 out of resources (connections, disk, memory);
# shutting down (57P01), crashing (57P02), starting or recovering (57P03), a standby that cannot write (25006), and a
# password that is being changed (28P01).
_CLASSES = ("08", "53")
_AWAY = frozenset({"57P01", "57P02", "57P03", "25006", "28P01"})


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a database error, wrapped by SQLAlchemy or not; empty where there is none."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def is_unavailable(error: BaseException) -> bool:
    """Whether the database is unreachable or takes no work, as opposed to refusing one statement."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    return state.startswith(_CLASSES) or state in _AWAY or isinstance(error, OSError | PoolTimeoutError)


def may_pass(error: BaseException) -> bool:
    """Whether the same statement can succeed later without anyone changing anything.

    Besides an unavailable database these are: serialization failure, deadlock, lock time-out, and class 57, statements
    ended by an operator or a time-out.
    """
    state = sqlstate(error)
    return is_unavailable(error) or state.startswith("57") or state in {"40001", "40P01", "55P03"}


def lacks_schema(error: BaseException) -> bool:
    """Whether a table or column is missing: the database is older than the program, or not migrated at all."""
    return sqlstate(error) in {"42P01", "42703"}
