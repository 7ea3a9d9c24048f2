"""What no log line, span or kept error may show: passwords within addresses, e-mail addresses, rows, a customer's data.

Whoever writes a text says nothing private in the first place; this is the net below. It knows passwords and e-mail
addresses by their form, and the row that Postgres quotes after DETAIL by that word. A name has no form: what the order
at hand says of its customer is hidden as it stands there (runtime.work).
"""

import re

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
    for private in () if work is None else work.private:
        if len(private) <= len(text):
            text = _without(text, private)
    return text


def unquoted(text: str) -> str:
    """The text of an error without the values that it quotes: a stranger wrote them, and the dead letter has them."""
    return _QUOTED.sub("'…'", text)


def _without(text: str, private: str) -> str:
    """Hide a text as it is, as Python quotes it, and as it quotes it in ASCII, whatever the case; whole words only.

    A pattern for each customer costs a tenth of a millisecond to make: so only one that will find something is made.
    """
    for form in {private, repr(private)[1:-1], ascii(private)[1:-1]}:
        if form.strip() and form.casefold() in text.casefold():
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    return text
