"""Document store in one folder of a file system. It implements `runtime.documents.DocumentStore`.

A crash leaves the old file, the new one, or none: content goes to a temporary file, then a rename puts it in place.
"""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path

from runtime.documents import DocumentStoreError, checked_key


class FileDocumentStore:
    """Documents as files below `root`; a key is the path there. Each call runs in a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, content: bytes) -> None:
        """See `DocumentStore`. Raises DocumentStoreError when the file system refuses."""
        await asyncio.to_thread(_write, self._path(key), content)

    async def get(self, key: str) -> bytes | None:
        """See `DocumentStore`. Raises DocumentStoreError when the file system refuses."""
        return await asyncio.to_thread(_read, self._path(key))

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)


def _write(path: Path, content: bytes) -> None:
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
        raise DocumentStoreError(f"cannot store document {path}: {error}") from error


def _read(path: Path) -> bytes | None:
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
