"""The ways in which a text may be written into another: as it is, quoted, escaped, encoded, in whatever case.

Who puts a customer's name into an error may have called `repr`, `ascii`, `json.dumps` or `html.escape`, doubled the
quotes for SQL or the backslashes for a second quoting, or composed its accents otherwise. So each character is looked
for in all of its spellings, and what is found may mix them. Pure.
"""

import html
import json
import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote

# A shorter text in ASCII, or one without a letter, is also a word of ours or a number: a customer may be called SAP.
SHORTEST = 4
_WORD = re.compile(r"[a-z0-9]+")
_ESCAPES = re.compile(r"[\\%&]")
# A word of its own, or right behind an escape whose letters look like the beginning of it.
_BEGIN = r"(?:(?<!\w)|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
_END = r"(?!\w)"
_QUOTE_BEFORE, _QUOTE_AFTER = "(?<=['\"`“„«])", "(?=\\\\{0,8}['\"`”“»])"


def pattern_of(private: str, text: str) -> re.Pattern[str] | None:
    """What finds a text in this other one; None if it is not there for sure.

    A pattern costs some tenths of a millisecond to make: only one that may find something is made, and some are kept.
    """
    if not private.strip():
        return None
    word = _longest_word(private)
    if word:
        return _pattern(private) if word in text.casefold() else None
    escaped = _ESCAPES.search(text) is not None or not text.isascii()
    return _pattern(private) if escaped or private in text else None


def _longest_word(private: str) -> str:
    """Letters that each spelling leaves as they are."""
    return max(_WORD.findall(private.casefold()), key=len, default="")


@lru_cache(maxsize=256)
def _pattern(private: str) -> re.Pattern[str]:
    private = unicodedata.normalize("NFC", private)
    spelt = "".join(r"(?:\s|%20|\+)+" if one == " " else _spellings(one) for one in " ".join(private.split(" ")))
    ordinary = len(private) < SHORTEST and private.isascii()
    if ordinary or not any(one.isalpha() for one in private):
        return re.compile(f"{_QUOTE_BEFORE}{spelt}{_QUOTE_AFTER}", re.IGNORECASE)
    return re.compile(f"{_BEGIN}{spelt}{_END}", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _spellings(one: str) -> str:
    """A pattern of one character."""
    if one.isascii() and one.isalnum():
        return one
    encoded = one.encode(errors="surrogatepass")
    number = ord(one)
    forms = {
        one,
        unicodedata.normalize("NFD", one),
        repr(one)[1:-1],
        ascii(one)[1:-1],
        json.dumps(one)[1:-1],
        repr(encoded)[2:-1],
        quote(encoded),
        html.escape(one),
        f"&#{number};",
        f"&#x{number:x};",
        f"\\u{number:04x}",
        f"\\x{number:02x}",
    }
    if one in "'\"":
        forms |= {one * 2, f"\\{one}"}
    told = sorted(forms, key=len, reverse=True)
    # As many backslashes as there are quotings, within reason.
    return "(?:" + "|".join(re.escape(form).replace(r"\\", r"\\{1,8}") for form in told) + ")"
