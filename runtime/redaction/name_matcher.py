"""Finds names in texts, however they are written: quoted, escaped, encoded, in any case (runtime.redaction.folding).

Found are words of their own: Anna is not in Annabel. Mere signs are nobody's name and are not looked for. Pure.
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from runtime.redaction.folding import Reading, readings_of

# What is shorter in ASCII, or has no letter, may be a word of ours or a number as well: a customer may be called SAP.
SHORTEST = 4
_WORD = re.compile(r"[A-Za-z0-9]+")
# What may stand for a letter beyond ASCII.
_ESCAPES = re.compile(r"\\[xuU]|%[0-9A-Fa-f]|&")
_QUOTES_BEFORE, _QUOTE_AFTER = "'\"`“„«", re.compile(r"\\{0,8}['\"`”“»]")
_SIGNS = string.punctuation.replace("_", "")


def places_of(privates: Iterable[str], text: str) -> list[tuple[int, int]]:
    """Where these texts begin and end in this one, in order and apart."""
    lowered = text.lower()
    sought = [private for private in privates if _may_be_in(private, text, lowered)]
    if not sought:
        return []
    readings = readings_of(text)
    apart: list[tuple[int, int]] = []
    for begin, end in sorted(place for private in sought for place in _places(private, text, readings)):
        if apart and begin < apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((begin, end))
    return apart


def _may_be_in(private: str, text: str, lowered: str) -> bool:
    """Whether reading it may pay, which takes a microsecond for each word: most texts have not all of these."""
    words = _words(private)
    if words:
        return all(word in lowered for word in words)
    return not text.isascii() or _ESCAPES.search(text) is not None


@lru_cache(maxsize=256)
def _words(private: str) -> tuple[str, ...]:
    """Letters that each spelling leaves together as they are, the longest first."""
    words = _WORD.findall(unicodedata.normalize("NFC", private))
    return tuple(sorted({word.lower() for word in words}, key=len, reverse=True))


@lru_cache(maxsize=256)
def _letters(private: str) -> frozenset[str]:
    """How it reads; in more ways than one if there is in it what looks like an escape, maybe with its accents apart."""
    forms = {private, unicodedata.normalize("NFC", private), unicodedata.normalize("NFD", private)}
    return frozenset(reading.letters.strip() for form in forms for reading in readings_of(form)) - {""}


def _places(private: str, text: str, readings: Iterable[Reading]) -> Iterator[tuple[int, int]]:
    for letters in _letters(private):
        for reading in readings:
            for begin, end in reading.places_of(letters):
                place = _with_signs(private.strip(), text, begin, end)
                if _tells(letters, text[slice(*place)]) or _is_quoted(text, *place):
                    yield place


def _with_signs(private: str, text: str, begin: int, end: int) -> tuple[int, int]:
    """A place with the signs that the text sought begins and ends with, where they stand there."""
    before = private[: len(private) - len(private.lstrip(_SIGNS))]
    after = private[len(private.rstrip(_SIGNS)) :]
    if text.endswith(before, 0, begin):
        begin -= len(before)
    return begin, end + len(after) if text.startswith(after, end) else end


def _tells(letters: str, written: str) -> bool:
    """Whether it can hardly be anything else."""
    return any(one.isalpha() for one in letters) and not (len(written) < SHORTEST and written.isascii())


def _is_quoted(text: str, begin: int, end: int) -> bool:
    return begin > 0 and text[begin - 1] in _QUOTES_BEFORE and _QUOTE_AFTER.match(text, end) is not None
