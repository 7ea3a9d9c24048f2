"""Redaction of log lines, spans and stored errors: passwords, keys, e-mail addresses, rows, customers' data.

Our code writes nothing private in the first place; this is the safety net. It finds passwords and e-mail addresses by
their form, and the row that Postgres quotes after DETAIL by that word. A name has no form: the private texts of the
running order (`runtime.log_context.redact`) are found by `runtime.redaction.name_matcher` in any spelling. It hides
rather too much than too little. Its time grows linearly with the text, because some texts come from outside.
"""

import re
from collections.abc import Iterable

from runtime.log_context import current
from runtime.redaction.name_matcher import places_of

HIDDEN = "***"
# Up to the last @ that may belong to it: a password may contain any sign. At most 256 characters, to bound the time.
_PASSWORD = re.compile(r"(://[^/@\s:]{0,256}:)[^\s'\"<>]{0,256}@")
# `password=…`, `"token": "…"`, but no sentence that continues after the word.
_SECRET = re.compile(
    r"((?:password|passwd|pwd|secret|token|api[_-]?key)\w{0,64}(?:\s?=\s?|[\"']\s?[:=]\s?)[\"']?)[^\s\"'&,;)]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"(authorization[\"']?\s?[:=]\s?[\"']?)[^\"'\r\n,;]+", re.IGNORECASE)
_MAY_BE_SECRET = re.compile(r"passw|pwd|secret|token|api[_-]?key|authorization", re.IGNORECASE)

_LOCAL = r"(?:[^\s@<>()\[\],;:\"`%]+|%(?!40))"
_DOMAIN = r"(?:[\w-]+(?:\.[\w-]+)+|\[[\w.:]+\]|localhost(?![\w-]))"
# Before Python 3.11.5 a possessive quantifier keeps what a failed repetition took; an atomic group does not.
_EMAIL = re.compile(rf"(?<![^\s<>()\[\],;:\"`])(?:(?>{_LOCAL}+)(?:@|%40))+{_DOMAIN}|\"[^\"\n]{{1,64}}\"@{_DOMAIN}")
# Text before an address without a space: a key, a quote, a path.
_BEFORE_EMAIL = re.compile(
    r"(?:[\w.-]*='|(?:to|from|cc|bcc|email|mail|sender|recipient|user)=|.*//|/(?:.*/)?|')?", re.DOTALL
)
# A process's name, pool@host: our own.
_PROCESS = re.compile(r"(?:waybill-|worker-)\w+@[\w.-]+\Z")

# "Failing row contains (…)", with any line ends that a customer typed: up to the words that SQLAlchemy or a trace adds.
_ROW = re.compile(r"(DETAIL: +).*?(?=\n\[SQL|\nHINT: |\nThe above |\nDuring handling |\nTraceback |\Z)", re.DOTALL)
# Quotations by Python, also with the end cut off.
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*(?:'|\Z)|\"(?:[^\"\\]|\\.)*(?:\"|\Z)", re.DOTALL)
# Literals of SQL, likewise. A quoted name is not one; a dollar with a number is a parameter.
_LITERAL = re.compile(
    r"(\"[^\"]*\")|\bE'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|\$((?:[^\W\d]\w*)?)\$.*?(?:\$\2\$|\Z)",
    re.DOTALL | re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text without private parts."""
    if _MAY_BE_SECRET.search(text):
        text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", _SECRET.sub(rf"\1{HIDDEN}", text))
    if "@" in text or "%40" in text:
        text = _EMAIL.sub(_address, _PASSWORD.sub(rf"\1{HIDDEN}@", text))
    if "DETAIL:" in text:
        text = _ROW.sub(rf"\1{HIDDEN}", text)
    context = current()
    return text if context is None or not context.private else _without(context.private, text)


def excerpt(text: str, longest: int) -> str:
    """The first characters of the redacted text. Cutting first would leave parts that are not recognised."""
    return redacted(text)[:longest]


def unquoted(text: str) -> str:
    """The text of an error without the values that it quotes: they come from outside, and the dead letter has them."""
    return _QUOTED.sub("'…'", text)


def without_literals(statement: str) -> str:
    """An SQL statement without its literals. Our own statements have none."""
    return _LITERAL.sub(lambda found: found[1] or "'…'", statement)


def _without(privates: Iterable[str], text: str) -> str:
    shown, at = [], 0
    for begin, end in places_of(privates, text):
        shown += [text[at:begin], HIDDEN]
        at = end
    return "".join([*shown, text[at:]])


def _address(found: re.Match[str]) -> str:
    text = found[0]
    context = current()
    # A host whose password is hidden already, and the Message-ID of the current e-mail.
    known = (f"{HIDDEN}@",) if context is None else (f"{HIDDEN}@", f"{context.event_id}@")
    if _PROCESS.match(text) or text.startswith(known):
        return text
    before = _BEFORE_EMAIL.match(text)
    return f"{'' if before is None else before[0]}{HIDDEN}"
