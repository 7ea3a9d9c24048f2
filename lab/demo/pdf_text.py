"""The text of a PDF as a reader would search it. A module of its own, so that its processes import nothing else."""

from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import PyPdfError


def pdf_text(content: bytes) -> str:
    """All pages' text with single blanks; empty for what is no PDF."""
    try:
        pages = PdfReader(BytesIO(content)).pages
        return " ".join(" ".join(page.extract_text() for page in pages).split())
    except PyPdfError:
        return ""
