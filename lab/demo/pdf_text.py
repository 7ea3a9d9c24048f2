"""The text of a PDF. A module of its own, so that the processes that read PDFs import nothing else."""

from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import PyPdfError


def pdf_text(content: bytes) -> str:
    """The text of all pages with single blanks; empty if the content is no PDF."""
    try:
        pages = PdfReader(BytesIO(content)).pages
        return " ".join(" ".join(page.extract_text() for page in pages).split())
    except PyPdfError:
        return ""
