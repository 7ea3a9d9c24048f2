"""Search for names in texts, in any spelling: quoted, escaped, encoded, in any case. Pure.

Used by `runtime.redaction.redact`; `runtime.redaction.folding` reads the spellings. Only whole words match: Anna is not
found in Annabel. A private text of signs alone is not a name and is not searched for.
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from runtime.redaction.folding import Reading, readings_of

# A shorter ASCII name, or a number, may also be a word of ours: a customer may be called SAP.
SHORTEST = 4
_WORD = re.compile(r"[A-Za-z0-9]+")
# Escapes that may encode a character beyond ASCII.
_ESCAPES = re.compile(r"\\[xuU]|%[0-9A-Fa-f]|&")
_QUOTES_BEFORE, _QUOTE_AFTER = "'\"`“„«", re.compile(r"\\{0,8}['\"`”“»]")
_SIGNS = string.punctuation.replace("_", "")


def places_of(privates: Iterable[str], text: str) -> list[tuple[int, int]]:
    """Begin and end of each occurrence of these texts, in order and without overlaps."""
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
    """Cheap filter before the text is read: most texts do not have all words of a name. 1 µs a word."""
    words = _words(private)
    if words:
        return all(word in lowered for word in words)
    return not text.isascii() or _ESCAPES.search(text) is not None


@lru_cache(maxsize=256)
def _words(private: str) -> tuple[str, ...]:
    """The ASCII words that every spelling leaves unchanged, the longest first."""
    words = _WORD.findall(unicodedata.normalize("NFC", private))
    return tuple(sorted({word.lower() for word in words}, key=len, reverse=True))


@lru_cache(maxsize=256)
def _folded_forms(private: str) -> frozenset[str]:
    """Its readings: several if it contains something like an escape, or accents that can be decomposed."""
    forms = {private, unicodedata.normalize("NFC", private), unicodedata.normalize("NFD", private)}
    return frozenset(reading.chars.strip() for form in forms for reading in readings_of(form)) - {""}


def _places(private: str, text: str, readings: Iterable[Reading]) -> Iterator[tuple[int, int]]:
    for chars in _folded_forms(private):
        for reading in readings:
            for begin, end in reading.places_of(chars):
                place = _with_signs(private.strip(), text, begin, end)
                if _is_distinctive(chars, text[slice(*place)]) or _is_quoted(text, *place):
                    yield place


def _with_signs(private: str, text: str, begin: int, end: int) -> tuple[int, int]:
    """A match extended by the signs with which the private text begins and ends, where the text has them."""
    before = private[: len(private) - len(private.lstrip(_SIGNS))]
    after = private[len(private.rstrip(_SIGNS)) :]
    if text.endswith(before, 0, begin):
        begin -= len(before)
    return begin, end + len(after) if text.startswith(after, end) else end


def _is_distinctive(chars: str, written: str) -> bool:
    """Whether the match can hardly be another word."""
    return any(one.isalpha() for one in chars) and not (len(written) < SHORTEST and written.isascii())


def _is_quoted(text: str, begin: int, end: int) -> bool:
    return begin > 0 and text[begin - 1] in _QUOTES_BEFORE and _QUOTE_AFTER.match(text, end) is not None
