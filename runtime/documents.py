"""Port to the document store: finished documents by key.

`runtime.document_store.document_store` makes the implementation; `runtime.file_documents` is the only one so far. An
object store would have the same two verbs. The port is in `runtime` because two rooms need it: the invoice step of the
consumers puts, the API gets. `tests/contract/document_store_contract.py` holds every implementation to these promises.
"""

import re
from typing import Protocol

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")


class DocumentStoreError(Exception):
    """A document could not be stored or read; the message names its key."""


class DocumentStore(Protocol):
    """Keys are relative paths of plain names, such as `invoices/2026-000042.pdf`; another key is an error."""

    async def put(self, key: str, content: bytes) -> None:
        """Store a document durably before returning. A second put under a key replaces the first in one step.

        Raises DocumentStoreError.
        """

    async def get(self, key: str) -> bytes | None:
        """Return a document's bytes; None if there is none. Raises DocumentStoreError."""


def checked_key(key: str) -> str:
    """The key, if it is a relative path of plain names. Raises DocumentStoreError. For implementations."""
    if not _KEY.match(key):
        raise DocumentStoreError(f"document key {key!r} is not a relative path of plain names")
    return key
