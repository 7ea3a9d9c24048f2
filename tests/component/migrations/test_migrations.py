"""The schema's history on a real Postgres: up, up again, no drift, down to nothing, up once more."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from migrations.upgrade import alembic_config, upgrade
from orders.model import AttemptEnd, Status, StepState
from orders.tables import metadata as orders_metadata
from outbox.dead_letter_reason import DeadLetterReason
from outbox.tables import DEAD_LETTER_ACTIONS
from outbox.tables import metadata as outbox_metadata
from tests.support.probes.database import connected, run

CATALOGUE = """
SELECT n.nspname, c.relname, c.relkind::text, coalesce(pg_get_expr(c.relpartbound, c.oid), ''),
       coalesce((SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY conname)
                 FROM pg_constraint WHERE conrelid = c.oid), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('public', 'outbox') ORDER BY 1, 2"""


async def fetch(url: str, sql: str) -> list[tuple[object, ...]]:
    async with connected(url) as (connection,):
        return [tuple(row) for row in await connection.fetch(sql)]


def rows(url: str, sql: str) -> Sequence[tuple[object, ...]]:
    return asyncio.run(fetch(url, sql))


def test_an_empty_database_is_brought_up_again_without_change_and_down_to_nothing(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    made = rows(empty_database_url, CATALOGUE)
    tables = {f"{name}" for schema, name, *_ in made if schema == "public"}
    assert tables >= {table.name for table in orders_metadata.tables.values()}
    tables = {f"{name}" for schema, name, *_ in made if schema == "outbox"}
    assert tables >= {table.name for table in outbox_metadata.tables.values()}

    upgrade(empty_database_url)
    assert rows(empty_database_url, CATALOGUE) == made

    command.downgrade(alembic_config(empty_database_url), "base")
    left = rows(empty_database_url, CATALOGUE)
    assert [name for _, name, *_ in left] == ["alembic_version", "alembic_version_pkc"]

    upgrade(empty_database_url)
    assert rows(empty_database_url, CATALOGUE) == made


def test_the_history_has_one_base_and_is_linear() -> None:
    history = ScriptDirectory.from_config(alembic_config("postgresql://nowhere")).walk_revisions()
    revisions = {revision.revision: revision.down_revision for revision in history}
    assert [revision for revision, before in revisions.items() if before is None] == ["0001"]
    parents = [before for before in revisions.values() if before is not None]
    assert all(isinstance(before, str) for before in parents), "a merge has several parents"
    assert len(parents) == len(set(parents)), "two migrations follow the same one"


def test_the_migrations_make_what_the_tables_say(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_a_difference_between_tables_and_migrations_would_be_found(database_url: str) -> None:
    async def drift() -> None:
        async with connected(database_url) as (connection,):
            await connection.execute("ALTER TABLE outbox.pages DROP COLUMN sent_at")

    run(drift)
    with pytest.raises(Exception, match="sent_at"):
        command.check(alembic_config(database_url))


async def test_event_ids_are_taken_one_by_one(database_url: str) -> None:
    caches = await fetch(database_url, "SELECT cache_size FROM pg_sequences WHERE sequencename = 'event_ids'")
    assert caches == [(1,)]


ORDER = (
    "INSERT INTO orders (id, reference, status, customer_name, customer_email, street, city, country, currency, "
    "net_total, open_joins, leaf_steps, reject_reasons) "
    "VALUES (gen_random_uuid(), {reference}, {status}, 'n', 'e', 's', 'c', 'c', "
    "{currency}, 1, '{{}}', '{{}}', {reasons})"
)
GOOD = {"reference": "'R'", "status": "'pending'", "currency": "'USD'", "reasons": "NULL"}


def order(**changes: str) -> str:
    return ORDER.format(**{**GOOD, **changes})


LISTED = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1 AND conrelid = $2::text::regclass"


async def listed_words(url: str, constraint: str) -> set[str]:
    """The words listed by a CHECK, which is named `constraint@table`."""
    async with connected(url) as (connection,):
        return set(str(await connection.fetchval(LISTED, *constraint.split("@"))).split("'")[1::2])


async def test_the_checks_list_exactly_the_words_of_the_model(database_url: str) -> None:
    assert await listed_words(database_url, "status_known@orders") == {status.value for status in Status}
    assert await listed_words(database_url, "state_known@order_steps") == {state.value for state in StepState}
    assert await listed_words(database_url, "outcome_known@order_attempts") == {end.value for end in AttemptEnd}
    assert await listed_words(database_url, "state_known@outbox.deliveries") == {"running", "retrying", "done", "dead"}
    assert await listed_words(database_url, "state_known@outbox.dead_letters") == {"open", "replayed", "discarded"}
    assert await listed_words(database_url, "reason_known@outbox.dead_letters") == set(DeadLetterReason)
    assert await listed_words(database_url, "action_known@outbox.dead_letter_actions") == set(DEAD_LETTER_ACTIONS)


BAD_ROWS = {
    "status_known": order(status="'lost'"),
    "rejected_with_reasons": order(status="'rejected'"),
    "currency_form": order(currency="'US'"),
    "reference_length": order(reference="''"),
    "never_below_zero": "INSERT INTO products (sku, name, available) VALUES ('A', 'a', -1)",
    "sequence_positive": "INSERT INTO invoices (series, sequence, order_id) VALUES ('2026', 0, gen_random_uuid())",
    "quantity_positive": "INSERT INTO reservations (order_id, sku, quantity) VALUES (gen_random_uuid(), 'A', 0)",
    "outcome_known": "INSERT INTO order_attempts (order_id, step, event_type, generation, claim, attempt, worker, "
    "started_at, ended_at, outcome) VALUES (gen_random_uuid(), 's', 'e', 1, 1, 1, 'w', now(), now(), 'lost')",
    "ended_with_outcome": "INSERT INTO order_attempts (order_id, step, event_type, generation, claim, attempt, worker, "
    "started_at, ended_at) VALUES (gen_random_uuid(), 's', 'e', 1, 1, 1, 'w', now(), now())",
    "ids_in_order": "INSERT INTO outbox.pages (epoch, old_snapshot, new_snapshot, first_id, last_id, events, sent_at) "
    "VALUES (1, '1:1:', '2:2:', 5, 4, 1, now())",
    "time_readable": "INSERT INTO outbox.events (event_id, type, subject, source, time, data) "
    "VALUES (gen_random_uuid(), 't', 's', 'u', '-infinity', '')",
    "state_known": "INSERT INTO outbox.dead_letters (dead_letter_key, state, queue, body, headers, reason) "
    "VALUES ('k', 'lost', 'q', '', '{}', 'rejected')",
    "reason_known": "INSERT INTO outbox.dead_letters (dead_letter_key, queue, body, headers, reason) "
    "VALUES ('k', 'q', '', '{}', 'bad luck')",
    "action_known": "INSERT INTO outbox.dead_letter_actions (dead_letter_id, action, actor, why) "
    "VALUES (1, 'burn', 'me', 'w')",
}


async def test_the_schema_refuses_states_and_figures_that_cannot_be(database_url: str) -> None:
    async with connected(database_url) as (connection,):
        for constraint, statement in BAD_ROWS.items():
            with pytest.raises(asyncpg.CheckViolationError) as refusal:
                await connection.execute(statement)
            assert refusal.value.constraint_name == constraint
        await connection.execute(order())  # and takes the good one that the bad ones were made of
        await connection.execute(order(status="'rejected'", reasons="'[]'", reference="'R2'"))


async def test_a_migration_fails_on_a_lock_instead_of_queueing_writers_behind_it(empty_database_url: str) -> None:
    async with connected(empty_database_url) as (connection,):
        # The migration's own table, locked, stops it after it has set its limits.
        await connection.execute("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
        await connection.execute("BEGIN; LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Exception, match="lock timeout"):
            await asyncio.to_thread(upgrade, empty_database_url)
        await connection.execute("ROLLBACK")
    await asyncio.to_thread(upgrade, empty_database_url)
