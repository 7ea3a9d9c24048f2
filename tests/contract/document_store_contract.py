"""Contract suite of `runtime.documents.DocumentStore`: the promises that every implementation keeps.

To put another store through it, subclass `DocumentStoreContract` in a test module and give it the two fixtures.
"""

import asyncio
from collections.abc import Callable

import pytest

from runtime.documents import DocumentStore, DocumentStoreError

OpenStore = Callable[[], DocumentStore]


class DocumentStoreContract:
    """Subclasses are named `Test…`.

    Fixture `open_store`: opens the same store anew with each call. Fixture `broken_store`: a store that can neither
    write nor read.
    """

    async def test_a_document_is_read_back_as_it_was_put(self, open_store: OpenStore) -> None:
        store, content = open_store(), bytes(range(256)) * 1000
        await store.put("invoices/2026-000042.pdf", content)
        assert await store.get("invoices/2026-000042.pdf") == content

    async def test_an_empty_document_is_a_document(self, open_store: OpenStore) -> None:
        store = open_store()
        await store.put("a", b"")
        assert await store.get("a") == b""

    async def test_a_key_without_a_document_gives_none(self, open_store: OpenStore) -> None:
        store = open_store()
        await store.put("invoices/1.pdf", b"1")
        assert await store.get("invoices/2.pdf") is None
        assert await store.get("elsewhere/1.pdf") is None

    async def test_a_second_put_replaces_the_first(self, open_store: OpenStore) -> None:
        store = open_store()
        await store.put("a/b", b"a longer first one")
        await store.put("a/b", b"second")
        assert await store.get("a/b") == b"second"

    async def test_a_document_outlives_the_object_that_put_it(self, open_store: OpenStore) -> None:
        await open_store().put("a/b", b"kept")
        assert await open_store().get("a/b") == b"kept"

    async def test_readers_beside_a_writer_see_one_whole_document(self, open_store: OpenStore) -> None:
        store, contents = open_store(), [bytes([n]) * 100_000 for n in range(8)]
        await store.put("a", contents[0])
        *_, first, second = await asyncio.gather(
            *(store.put("a", content) for content in contents), store.get("a"), open_store().get("a")
        )
        assert first in contents
        assert second in contents
        assert await store.get("a") in contents

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b", "a\n", "ä", "a\\b"])
    async def test_a_key_that_is_no_relative_path_of_plain_names_is_an_error(
        self, open_store: OpenStore, key: str
    ) -> None:
        store = open_store()
        with pytest.raises(DocumentStoreError, match="is not a relative path of plain names"):
            await store.put(key, b"x")
        with pytest.raises(DocumentStoreError, match="is not a relative path of plain names"):
            await store.get(key)

    async def test_a_store_that_fails_raises_an_error_that_names_the_key(self, broken_store: DocumentStore) -> None:
        with pytest.raises(DocumentStoreError, match=r"invoices/1\.pdf"):
            await broken_store.put("invoices/1.pdf", b"x")
        with pytest.raises(DocumentStoreError, match=r"invoices/1\.pdf"):
            await broken_store.get("invoices/1.pdf")
