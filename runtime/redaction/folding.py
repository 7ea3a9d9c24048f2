r"""What a text says, however it is written: its letters and digits without case and accents, and where each stands.

Who puts a customer's name into an error may have called `repr`, `ascii`, `json.dumps`, `quote`, `html.escape`, doubled
the quotes for SQL or the backslashes for a second quoting, or composed its accents otherwise. All of that reads alike
once accents and what stands between letters are left out. A text is read from left to right and nothing is tried
twice: no pattern is made of what a stranger typed, and the time grows with the text alone. Pure.

What an escape means is not always known: `\xc3\xab` is ë to who wrote bytes, and Ã« to who wrote `ascii`. So a text has
up to three readings. What is escaped within another kind of escape, but for backslashes in a URL, is not read.
"""

import html.entities
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_HEX = "[0-9A-Fa-f]"
_RAW = r"(?P<word>[A-Za-z0-9_]+)|(?P<raw>\s+|\+|[^\x00-\x7f])"
# As many backslashes as there are quotings. A run is one token also where nothing follows that it could escape: begun
# anew at each backslash, it would be read in the square of its length.
_SLASHES = r"(?:\\|%(?:25)*+5[Cc])++"
_ESCAPED = (
    rf"(?P<pair>{_SLASHES}u[Dd][89ABab]{_HEX}{{2}}{_SLASHES}u[Dd][C-Fc-f]{_HEX}{{2}})"
    rf"|{_SLASHES}(?:x(?P<byte>{_HEX}{{2}})|u(?P<short>{_HEX}{{4}})|U(?P<long>{_HEX}{{8}}))?"
    rf"|%(?:25)*(?P<percent>{_HEX}{{2}})"
    rf"|&(?:amp;)*+(?:#(?P<decimal>[0-9]{{1,7}});|#[Xx](?P<hex>{_HEX}{{1,6}});|(?P<entity>[A-Za-z0-9]{{2,31}});)?"
)
_BYTE = rf"(?:{_SLASHES}x|%(?:25)*+)"
_NEXT = rf"{_BYTE}[89ABab]{_HEX}"
_UTF8 = rf"(?P<utf8>{_BYTE}(?:[CDcd]{_HEX}{_NEXT}|[Ee]{_HEX}(?:{_NEXT}){{2}}|[Ff][0-7](?:{_NEXT}){{3}}))"
_AS_IT_STANDS, _UNESCAPED = re.compile(_RAW), re.compile(f"{_ESCAPED}|{_RAW}")
_OF_BYTES = re.compile(f"{_UTF8}|{_ESCAPED}|{_RAW}")
_MAY_ESCAPE = re.compile(r"[\\%&]")
_A_BYTE, _A_HALF = re.compile(f"{_BYTE}({_HEX}{{2}})"), re.compile(f"u({_HEX}{{4}})")
_MAY_BE_BYTES = re.compile(rf"[x%5][C-Fc-f]{_HEX}[\\%]")
_LAST_CODE = 0x10FFFF


class Reading(NamedTuple):
    """Letters and digits, with single blanks where blanks are; the place of each in the text, begin and end."""

    letters: str
    begins: list[int]
    ends: list[int]

    def places_of(self, letters: str) -> Iterator[tuple[int, int]]:
        """Where words that read so begin and end."""
        at = self.letters.find(letters)
        while at >= 0:
            last = at + len(letters) - 1
            if self._is_border(at - 1, at) and self._is_border(last, last + 1):
                yield self.begins[at], self.ends[last]
            at = self.letters.find(letters, at + 1)

    def _is_border(self, left: int, right: int) -> bool:
        """Whether these neighbours are not of one word: something is left out between them, or one is no letter."""
        if left < 0 or right == len(self.letters) or self.ends[left] < self.begins[right]:
            return True
        return not (_of_a_word(self.letters[left]) and _of_a_word(self.letters[right]))


def readings_of(text: str) -> list[Reading]:
    """As it stands, with its escapes taken for characters, and with those that can be for UTF-8."""
    found = [_read(text, _AS_IT_STANDS)]
    if _MAY_ESCAPE.search(text):
        found.append(_read(text, _UNESCAPED))
        if _MAY_BE_BYTES.search(text):
            found.append(_read(text, _OF_BYTES))
    return found


def _read(text: str, tokens: re.Pattern[str]) -> Reading:
    letters, begins, ends = [" "], [0], [0]
    for token in tokens.finditer(text):
        begin, end = token.span()
        if token.lastgroup == "word":
            letters.append(token[0].lower())
            begins.extend(range(begin, end))
            ends.extend(range(begin + 1, end + 1))
            if token[0][0] in "nrt" and text.endswith("\\", 0, begin):
                ends[begin - end] = begin  # it may be a line's end, behind which another word begins
            continue
        for one in _meant(token):
            read = _folded(one)
            if not read and unicodedata.combining(one) and ends[-1] == begin:
                ends[-1] = end  # an accent goes with its letter
            elif read and not (read == letters[-1] == " "):
                letters.append(read)
                begins.extend([begin] * len(read))
                ends.extend([end] * len(read))
    return Reading("".join(letters), begins, ends)


def _meant(token: re.Match[str]) -> str:
    """The characters that a token stands for."""
    kind = token.lastgroup
    if kind is None:
        return ""
    said = token[kind]
    if kind == "raw":
        return said[0]  # of blanks, one
    if kind == "entity":
        return html.entities.html5.get(f"{said};", said)
    if kind == "pair":
        return bytes.fromhex("".join(_A_HALF.findall(said))).decode("utf-16-be")
    if kind == "utf8":
        return bytes.fromhex("".join(_A_BYTE.findall(said))).decode(errors="replace")
    code = int(said, 10 if kind == "decimal" else 16)
    return chr(code) if code <= _LAST_CODE else ""


@lru_cache(maxsize=4096)
def _folded(one: str) -> str:
    """What is read of a character: no accent, and of ASCII no sign; a blank for what a URL writes in its place too."""
    if one.isspace() or one == "+":
        return " "
    parts = unicodedata.normalize("NFD", unicodedata.normalize("NFD", one).casefold())
    return "".join(part for part in parts if not unicodedata.combining(part) and (_of_a_word(part) or part > "\x7f"))


def _of_a_word(one: str) -> bool:
    return one.isalnum() or one == "_"
