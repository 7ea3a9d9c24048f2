"""An append-only file of JSON lines. A synced line survives a crash of the machine, an appended one of the process.

One fsync serves all callers that wait at the time, so durability costs a disk flush per burst and not per line. A last
line that a crash has torn is cut off at the next start; damage anywhere else is an error. A lock keeps a second process
away.
"""

import asyncio
import fcntl
import json
import os
from pathlib import Path
from typing import Any


class JournalError(Exception):
    """The file cannot be used; the message says which, where and why."""


class Journal:
    """One open file. Not for use from several threads or loops."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises JournalError when another process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise JournalError(f"{path} is in use by another process; stop it or name another file") from error
        self._appended = 0
        self._synced = 0
        self._syncing = asyncio.Lock()

    def replay(self) -> list[dict[str, Any]]:
        """Every whole record so far, oldest first; a torn last line is removed. Raises JournalError."""
        content = self._path.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            self._file.truncate(len(whole) + len(newline))
        records = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise JournalError(f"{self._path}, line {number} is damaged: {line[:80]!r}") from error
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Hand one record to the operating system; call `sync` to have it on disk."""
        self._file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self._appended += 1

    async def sync(self) -> None:
        """Return once every record appended before this call is on disk."""
        mine = self._appended
        async with self._syncing:
            if self._synced >= mine:
                return
            covered = self._appended
            await asyncio.to_thread(os.fsync, self._file.fileno())
            self._synced = covered

    def close(self) -> None:
        """Close the file and free the lock."""
        self._file.close()
