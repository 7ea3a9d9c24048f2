"""Whatever writers, pages, crashes and adoptions follow each other, nothing is skipped and each subject stays in order.

Hypothesis draws the steps; the same ones are drawn each time, so that a failure comes again. Writers lock their subject
before they take an id, as the product locks the order's row; a savepoint rolled back frees what was locked since.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox.cursor import reader as reader_module
from outbox.cursor.cluster_adoption import adopt
from outbox.cursor.log import ConfirmedPage, advance
from outbox.cursor.reader import Page, Reader
from tests.support.probes.database import Asyncpg, connected
from tests.support.probes.outbox_reader import NOW, insert, lead

WRITERS = 3
SUBJECTS = 3
ROWS = 3  # by one step, so that most windows are of several pages
EXAMPLES = 120
FAR_APART = (0, 10)  # a window's further pages by the index on xid, and by primary key

# How often a step comes, relative to the others.
WEIGHTS = {"insert": 4, "commit": 2, "roll_back": 1, "save": 1, "roll_back_to": 1, "release": 1, "begin": 1}
WEIGHTS |= {"read": 2, "confirm": 3, "commit_within_read": 2, "crash": 2, "adopt": 1}
STEPS = st.lists(
    st.tuples(
        st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]),
        st.integers(0, WRITERS - 1),
        st.integers(0, SUBJECTS - 1),
    ),
    min_size=20,
    max_size=60,
)

Step = tuple[str, int, int]
_EMPTY = """
DELETE FROM outbox.events; DELETE FROM outbox.pages; DELETE FROM outbox.adoptions;
INSERT INTO outbox.adoptions (system_identifier, floor_id, after_page)
SELECT system_identifier, 0, 0 FROM pg_control_system()"""


@dataclass
class Writer:
    """A connection and what its open transaction has written and locked; `saved` has both at each savepoint."""

    connection: Asyncpg
    open: bool = False
    rows: dict[int, int] = field(default_factory=dict)
    locked: frozenset[int] = frozenset()
    saved: list[tuple[dict[int, int], frozenset[int]]] = field(default_factory=list)

    async def begin(self) -> None:
        if not self.open:
            await self.connection.execute("BEGIN; SELECT pg_current_xact_id()")
            self.open = True

    async def end(self, how: str) -> dict[int, int]:
        """COMMIT or ROLLBACK; what the transaction had written."""
        if self.open:
            await self.connection.execute(how)
        rows = self.rows
        self.open, self.rows, self.locked, self.saved = False, {}, frozenset(), []
        return rows


class ReadersConnection:
    """Passes statements on; `meanwhile`, once set, happens between the snapshot and the page that is read by it."""

    def __init__(self, connection: Asyncpg) -> None:
        self._connection = connection
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def fetchrow(self, statement: str, *values: object) -> Any:
        return await self._connection.fetchrow(statement, *values)

    async def fetch(self, statement: str, *values: object, timeout: float) -> Any:  # noqa: ASYNC109 - asyncpg's own
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self._connection.fetch(statement, *values, timeout=timeout)


class Stage:
    """The database, and beside it what must be true of it. Rows are kept as id: subject."""

    def __init__(self, own: Asyncpg, writers: Sequence[Asyncpg]) -> None:
        self._own = own
        self._writers = [Writer(writer) for writer in writers]

    async def play(self, steps: Sequence[Step], page_size: int) -> None:
        """One example from an empty outbox to one that is read to its end."""
        await self._own.execute(_EMPTY)
        self._page_size = page_size
        self._committed: dict[int, int] = {}
        self._first_copies: dict[int, list[int]] = {subject: [] for subject in range(SUBJECTS)}
        self._passed: set[int] = set()
        self._unconfirmed: list[Page] = []
        try:
            await self._start_reader()
            for name, writer, subject in steps:
                await getattr(self, name)(self._writers[writer], subject)
        finally:
            for late in self._writers:
                self._committed |= await late.end("COMMIT")
        await self._read_to_the_end()

    async def _start_reader(self) -> None:
        self._unconfirmed = []
        self._given_out: set[int] = set()
        self._link = ReadersConnection(self._own)
        self._reader = Reader(cast("Asyncpg", self._link), self._page_size)
        await self._reader.resume()

    async def _read_to_the_end(self) -> None:
        while await self._take():
            pass
        for subject, firsts in self._first_copies.items():
            assert firsts == sorted(row for row, its in self._committed.items() if its == subject)
        while self._unconfirmed:
            await self._confirm_one()
        await self._start_reader()
        assert await self._reader.next_page() is None, "the cursor in the table must have passed everything"

    async def _take(self) -> bool:
        page = await self._reader.next_page()
        if page is None:
            return False
        assert len(page.rows) <= self._page_size
        self._unconfirmed.append(page)
        for row in page.rows:
            assert row.id in self._committed, f"{row.id} is not committed"
            assert row.id not in self._passed, f"{row.id} was confirmed and is read again"
            assert row.id not in self._given_out, f"{row.id} was given out and is read again without a crash"
            self._given_out.add(row.id)
            firsts = self._first_copies[int(row.subject)]
            if row.id not in firsts:
                firsts.append(row.id)
                assert firsts == sorted(firsts), f"first copies of {row.subject} are out of order: {firsts}"
        return True

    async def _confirm_one(self) -> None:
        page = self._unconfirmed.pop(0)
        await advance(self._own, 1, [ConfirmedPage(page, NOW, NOW)])
        self._passed |= {row.id for row in page.rows}

    # Steps. Those that are impossible where they are drawn do nothing.

    async def begin(self, writer: Writer, _: int) -> None:
        await writer.begin()

    async def insert(self, writer: Writer, subject: int) -> None:
        if any(subject in other.locked for other in self._writers if other is not writer):
            return
        await writer.begin()
        writer.locked |= {subject}
        for _ in range(ROWS):
            writer.rows[await insert(writer.connection, str(subject))] = subject

    async def save(self, writer: Writer, _: int) -> None:
        if writer.open:
            await writer.connection.execute("SAVEPOINT s")
            writer.saved.append((dict(writer.rows), writer.locked))

    async def roll_back_to(self, writer: Writer, _: int) -> None:
        if writer.saved:
            await writer.connection.execute("ROLLBACK TO s; RELEASE s")
            writer.rows, writer.locked = writer.saved.pop()

    async def release(self, writer: Writer, _: int) -> None:
        if writer.saved:
            await writer.connection.execute("RELEASE s")
            writer.saved.pop()

    async def commit(self, writer: Writer, _: int) -> None:
        self._committed |= await writer.end("COMMIT")

    async def roll_back(self, writer: Writer, _: int) -> None:
        await writer.end("ROLLBACK")

    async def read(self, _writer: Writer, _: int) -> None:
        await self._take()

    async def commit_within_read(self, writer: Writer, _: int) -> None:
        self._link.meanwhile = lambda: self.commit(writer, 0)
        await self._take()
        self._link.meanwhile = None

    async def confirm(self, _writer: Writer, _: int) -> None:
        if self._unconfirmed:
            await self._confirm_one()

    async def crash(self, _writer: Writer, _: int) -> None:
        await self._start_reader()

    async def adopt(self, _writer: Writer, _: int) -> None:
        """Another cluster, by the record of adoptions. Open transactions with events would have to end first."""
        if any(writer.open for writer in self._writers):
            return
        await self._own.execute("UPDATE outbox.adoptions SET system_identifier = 0")
        adopted = await adopt(self._own)
        assert adopted is not None
        self._passed = {row for row in self._passed if row <= adopted.floor_id}
        await self._start_reader()


def test_however_the_steps_follow_each_other_nothing_is_skipped_and_subjects_stay_in_order(
    shared_database_url: str,
) -> None:
    with asyncio.Runner() as runner:

        async def opened() -> tuple[AsyncExitStack, Stage]:
            stack = AsyncExitStack()
            own, *writers = await stack.enter_async_context(connected(shared_database_url, 1 + WRITERS))
            await lead(own)
            return stack, Stage(own, writers)

        stack, stage = runner.run(opened())

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(STEPS, st.integers(1, 3), st.sampled_from(FAR_APART))
        def explore(steps: list[Step], page_size: int, far_apart: int) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(reader_module, "FAR_APART", far_apart)
                runner.run(stage.play(steps, page_size))

        try:
            explore()
        finally:
            runner.run(stack.aclose())
