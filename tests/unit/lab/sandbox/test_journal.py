import asyncio
from pathlib import Path

import pytest

from lab.sandbox.journal import Journal, JournalError


async def test_appended_records_are_read_back_and_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.append({"name": "Händel"})
    await journal.sync()
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"name": "tor')

    again = Journal(path)
    assert again.replay() == [{"name": "Händel"}]
    again.append({"name": "next"})
    assert again.replay() == [{"name": "Händel"}, {"name": "next"}]
    again.close()


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"a":1}\n{"a":\n{"a":3}\n')
    journal = Journal(path)
    with pytest.raises(JournalError, match="line 2 is damaged"):
        journal.replay()
    journal.close()


async def test_callers_that_wait_together_share_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []
    monkeypatch.setattr("lab.sandbox.journal.os.fsync", flushes.append)
    journal = Journal(tmp_path / "journal")

    async def book(number: int) -> None:
        journal.append({"number": number})
        await journal.sync()

    await asyncio.gather(*(book(number) for number in range(50)))
    journal.close()
    assert len(flushes) in {1, 2}


def test_a_journal_in_use_is_not_opened_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(JournalError, match="is in use by another process"):
        Journal(tmp_path / "journal")
    journal.close()
    Journal(tmp_path / "journal").close()
