"""The one place that chooses the document store. Called by the API, the workers and the audit."""

from runtime.documents import DocumentStore
from runtime.file_documents import FileDocumentStore
from runtime.settings import Settings


def document_store(settings: Settings) -> DocumentStore:
    """The document store that these settings name, which is a folder."""
    return FileDocumentStore(settings.documents_dir)
