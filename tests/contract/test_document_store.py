"""The file store keeps the document store's contract."""

import asyncio
from pathlib import Path

import pytest

from runtime.document_store import document_store
from runtime.documents import DocumentStore
from runtime.settings import Settings
from tests.contract.document_store_contract import DocumentStoreContract, OpenStore


class TestFiles(DocumentStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: _store(tmp_path / "documents")

    @pytest.fixture
    def broken_store(self, tmp_path: Path) -> DocumentStore:
        in_the_way = tmp_path / "documents"
        in_the_way.write_text("a file where the folder should be")
        return _store(in_the_way)

    def test_a_put_leaves_no_temporary_file(self, tmp_path: Path, open_store: OpenStore) -> None:
        asyncio.run(open_store().put("a/b", b"x"))
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b"]


def _store(folder: Path) -> DocumentStore:
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1/none", amqp_url="amqp://nobody@127.0.0.1/", documents_dir=folder
    )
    return document_store(settings)
