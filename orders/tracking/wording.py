"""Texts of an order's story as they fit on a line: an error, a time."""

from datetime import datetime

LONGEST_ERROR = 200  # characters of an error that are shown


def last_error(error: str | None) -> str:
    """The end of a sentence: the last error, shortened; nothing if there is none."""
    return f", last error {one_line(error)[:LONGEST_ERROR]}" if error else ""


def one_line(text: str | None) -> str:
    """A text on one line: each run of blanks and line ends becomes one blank."""
    return " ".join((text or "").split())


def clock(moment: datetime, now: datetime) -> str:
    """A time for people: without the day if that is today."""
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
