r"""Text folding: a text's alphanumeric characters without case, accents and escapes, each with its position. Pure.

A customer's name may reach an error through `repr`, `ascii`, `json.dumps`, `quote`, `html.escape`, doubled quotes for
SQL, doubled backslashes for a second quoting, or another composition of its accents. All of these fold to the same
characters once accents and the signs between characters are left out. A text is read once from left to right. No
pattern is made from text of a customer, and the time grows linearly with the text. Used by `name_matcher`.

An escape can be ambiguous: `\xc3\xab` is ë in a repr of bytes, and Ã« in an `ascii`. So a text has up to three
readings. An escape within another kind of escape is not read, except for backslashes in a URL.
"""

import html.entities
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_HEX = "[0-9A-Fa-f]"
_RAW = r"(?P<word>[A-Za-z0-9_]+)|(?P<raw>\s+|\+|[^\x00-\x7f])"
# Before Python 3.11.5 a possessive quantifier keeps what a failed repetition took; an atomic group does not.
_PERCENTS = "(?>(?:25)*)"
# Any number of backslashes, one for each quoting. A run is one token even if it escapes nothing: starting again at
# each backslash would take quadratic time.
_SLASHES = rf"(?>(?:\\+|%{_PERCENTS}5[Cc])+)"
_ESCAPED = (
    rf"(?P<pair>{_SLASHES}u[Dd][89ABab]{_HEX}{{2}}{_SLASHES}u[Dd][C-Fc-f]{_HEX}{{2}})"
    rf"|{_SLASHES}(?:x(?P<byte>{_HEX}{{2}})|u(?P<short>{_HEX}{{4}})|U(?P<long>{_HEX}{{8}}))?"
    rf"|%(?:25)*(?P<percent>{_HEX}{{2}})"
    rf"|&(?>(?:amp;)*)(?:#(?P<decimal>[0-9]{{1,7}});|#[Xx](?P<hex>{_HEX}{{1,6}});|(?P<entity>[A-Za-z0-9]{{2,31}});)?"
)
_BYTE = rf"(?:{_SLASHES}x|%{_PERCENTS})"
_NEXT = rf"{_BYTE}[89ABab]{_HEX}"
_UTF8 = rf"(?P<utf8>{_BYTE}(?:[CDcd]{_HEX}{_NEXT}|[Ee]{_HEX}(?:{_NEXT}){{2}}|[Ff][0-7](?:{_NEXT}){{3}}))"
_AS_IT_STANDS, _UNESCAPED = re.compile(_RAW), re.compile(f"{_ESCAPED}|{_RAW}")
_OF_BYTES = re.compile(f"{_UTF8}|{_ESCAPED}|{_RAW}")
_MAY_ESCAPE = re.compile(r"[\\%&]")
_A_BYTE, _A_HALF = re.compile(f"{_BYTE}({_HEX}{{2}})"), re.compile(f"u({_HEX}{{4}})")
_MAY_BE_BYTES = re.compile(rf"[x%5][C-Fc-f]{_HEX}[\\%]")
_LAST_CODE = 0x10FFFF


class Reading(NamedTuple):
    """Alphanumeric characters and single blanks; for each its begin and end in the text."""

    chars: str
    begins: list[int]
    ends: list[int]

    def places_of(self, chars: str) -> Iterator[tuple[int, int]]:
        """Begin and end of each occurrence of these words."""
        at = self.chars.find(chars)
        while at >= 0:
            last = at + len(chars) - 1
            if self._is_border(at - 1, at) and self._is_border(last, last + 1):
                yield self.begins[at], self.ends[last]
            at = self.chars.find(chars, at + 1)

    def _is_border(self, left: int, right: int) -> bool:
        """Whether a word ends between these neighbours: a sign was left out there, or one of them is a blank."""
        if left < 0 or right == len(self.chars) or self.ends[left] < self.begins[right]:
            return True
        return not (_of_a_word(self.chars[left]) and _of_a_word(self.chars[right]))


def readings_of(text: str) -> list[Reading]:
    """The readings: literal, with escapes read as characters, and with escapes read as UTF-8 where they can be."""
    found = [_read(text, _AS_IT_STANDS)]
    if _MAY_ESCAPE.search(text):
        found.append(_read(text, _UNESCAPED))
        if _MAY_BE_BYTES.search(text):
            found.append(_read(text, _OF_BYTES))
    return found


def _read(text: str, tokens: re.Pattern[str]) -> Reading:
    chars, begins, ends = [" "], [0], [0]
    for token in tokens.finditer(text):
        begin, end = token.span()
        if token.lastgroup == "word":
            chars.append(token[0].lower())
            begins.extend(range(begin, end))
            ends.extend(range(begin + 1, end + 1))
            if token[0][0] in "nrt" and text.endswith("\\", 0, begin):
                ends[begin - end] = begin  # it may be an escaped line end, after which another word begins
            continue
        for one in _meant(token):
            read = _folded(one)
            if not read and unicodedata.combining(one) and ends[-1] == begin:
                ends[-1] = end  # an accent belongs to its character
            elif read and not (read == chars[-1] == " "):
                chars.append(read)
                begins.extend([begin] * len(read))
                ends.extend([end] * len(read))
    return Reading("".join(chars), begins, ends)


def _meant(token: re.Match[str]) -> str:
    """The characters that a token encodes."""
    kind = token.lastgroup
    if kind is None:
        return ""
    digits = token[kind]
    if kind == "raw":
        return digits[0]  # of blanks, one
    if kind == "entity":
        return html.entities.html5.get(f"{digits};", digits)
    if kind == "pair":
        return bytes.fromhex("".join(_A_HALF.findall(digits))).decode("utf-16-be")
    if kind == "utf8":
        return bytes.fromhex("".join(_A_BYTE.findall(digits))).decode(errors="replace")
    code = int(digits, 10 if kind == "decimal" else 16)
    return chr(code) if code <= _LAST_CODE else ""


@lru_cache(maxsize=4096)
def _folded(one: str) -> str:
    """A character without accents; nothing for a sign of ASCII; a blank for a blank and for a plus, a blank in URLs."""
    if one.isspace() or one == "+":
        return " "
    parts = unicodedata.normalize("NFD", unicodedata.normalize("NFD", one).casefold())
    return "".join(part for part in parts if not unicodedata.combining(part) and (_of_a_word(part) or part > "\x7f"))


def _of_a_word(one: str) -> bool:
    return one.isalnum() or one == "_"
