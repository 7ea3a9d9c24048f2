"""An inbox of files: one `.eml` per message, byte for byte as received, on disk before SMTP answers 250.

The folder is the only state. Files are numbered from 000001; a name that ends in `.part` was never acknowledged and
is removed at start.
"""

import asyncio
import email.utils
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from pathlib import Path


class InboxError(Exception):
    """The folder cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One entry of the list of messages; headers are decoded."""

    number: int
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    date: str
    file: str


class Inbox:
    """The messages of one folder, oldest first."""

    def __init__(self, folder: Path) -> None:
        """Open or make the folder and list its messages. Raises InboxError when another process holds it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InboxError(f"{folder} is in use by another process; stop it or name another folder") from error
        for unfinished in folder.glob("*.part"):
            unfinished.unlink()
        files = sorted(folder.glob("*.eml"))
        self._messages = {int(path.stem): _summary(path, path.read_bytes()) for path in files}
        self._next_number = max(self._messages, default=0) + 1

    @property
    def messages(self) -> Sequence[StoredMessage]:
        """All messages, oldest first."""
        return tuple(self._messages[number] for number in sorted(self._messages))

    def path(self, number: int) -> Path | None:
        """The file of a message."""
        message = self._messages.get(number)
        return self.folder / message.file if message else None

    async def keep(self, content: bytes) -> StoredMessage:
        """Store one message; it is on disk under its name when this returns."""
        number = self._next_number
        self._next_number += 1
        path = self.folder / f"{number:06d}.eml"
        await asyncio.to_thread(self._write, path, content)
        self._messages[number] = _summary(path, content)
        return self._messages[number]

    def close(self) -> None:
        """Release the folder's lock."""
        os.close(self._lock)

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        os.fsync(self._lock)  # the folder: without it the new name may not survive a power cut


def _summary(path: Path, content: bytes) -> StoredMessage:
    headers = BytesHeaderParser(policy=policy.SMTPUTF8).parsebytes(content)
    recipients = [str(value) for name in ("To", "Cc") for value in headers.get_all(name, [])]
    return StoredMessage(
        number=int(path.stem),
        message_id=_header(headers, "Message-ID"),
        sender=_header(headers, "From"),
        recipients=tuple(address for _, address in email.utils.getaddresses(recipients)),
        subject=_header(headers, "Subject"),
        date=_header(headers, "Date"),
        file=path.name,
    )


def _header(headers: EmailMessage, name: str) -> str:
    return str(headers.get(name, "")).strip()
