"""The document store: finished documents by key. The file system today; an object store has the same two verbs.

It stands in runtime because both sides need it: the invoice step puts, the API gets.
"""

import asyncio
import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Protocol

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")


class DocumentStoreError(Exception):
    """A document could not be kept or found; the message names its key."""


class DocumentStore(Protocol):
    """Keys are relative paths of plain names, such as `invoices/2026-000042.pdf`."""

    async def put(self, key: str, content: bytes) -> None:
        """Keep a document for good before returning; a second put under a key replaces the first at once."""

    async def get(self, key: str) -> bytes | None:
        """A document's bytes; None where there is none."""


class FileDocumentStore:
    """Documents as files below one folder, written so that a crash leaves the old file, the new one, or none."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, content: bytes) -> None:
        """See DocumentStore. Raises DocumentStoreError when the file system refuses."""
        await asyncio.to_thread(self._write, self._path(key), content)

    async def get(self, key: str) -> bytes | None:
        """See DocumentStore. Raises DocumentStoreError when the file system refuses."""
        return await asyncio.to_thread(self._read, self._path(key))

    def _path(self, key: str) -> Path:
        if not _KEY.match(key):
            raise DocumentStoreError(f"document key {key!r} is not a relative path of plain names")
        return self._root / key

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise DocumentStoreError(f"cannot keep document {path}: {error}") from error

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DocumentStoreError(f"cannot read document {path}: {error}") from error


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
