"""What no log line, span or kept error may show: passwords within addresses, e-mail addresses, rows, a customer's data.

Whoever writes a text says nothing private in the first place; this is the net below. It knows passwords and e-mail
addresses by their form, and the row that Postgres quotes after DETAIL by that word. A name has no form: what the order
at hand says of its customer is hidden as it stands there (runtime.work).
"""

import re
from functools import lru_cache

from runtime.work import current

HIDDEN = "***"
_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]*@")
# Not the address of a message, <event id@domain>, nor a process's name, pool@host.
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}@"
_LOCAL = r"[^\s@<>()\[\],;:\"'`=/]"
_EMAIL = re.compile(rf"(?<![^\s<>()\[\],;:\"'`=/])(?!{_UUID}){_LOCAL}+@[\w-]+(?:\.[\w-]+)+")
# "Failing row contains (…)", with whatever line ends a customer typed: up to what SQLAlchemy or a trace puts behind it.
_ROW = re.compile(r"(DETAIL: +).*?(?=\n\[SQL|\nHINT: |\nThe above |\nDuring handling |\nTraceback |\Z)", re.DOTALL)
# What Python quotes, also where the end was cut off.
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*(?:'|\Z)|\"(?:[^\"\\]|\\.)*(?:\"|\Z)", re.DOTALL)


def redacted(text: str) -> str:
    """The text without what must not be shown."""
    if "@" in text:
        text = _EMAIL.sub(HIDDEN, _PASSWORD.sub(rf"\1{HIDDEN}@", text))
    if "DETAIL:" in text:
        text = _ROW.sub(rf"\1{HIDDEN}", text)
    work = current()
    if work is not None and work.private:
        text = _any_of(work.private).sub(HIDDEN, text)
    return text


def unquoted(text: str) -> str:
    """The text of an error without the values that it quotes: a stranger wrote them, and the dead letter has them."""
    return _QUOTED.sub("'…'", text)


@lru_cache(maxsize=64)
def _any_of(private: tuple[str, ...]) -> re.Pattern[str]:
    """These texts as they are, as Python quotes them, and as it quotes them in ASCII; the longest first."""
    forms = {form for text in private for form in (text, repr(text)[1:-1], ascii(text)[1:-1]) if form.strip()}
    longest_first = sorted(forms, key=len, reverse=True)
    if not longest_first:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
