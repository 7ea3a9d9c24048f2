"""Text that Postgres can store: errors, traces and identities of messages that others wrote. Pure."""

LONGEST_TEXT = 4_000  # characters of an error or trace; no operator reads a megabyte


def storable(text: str) -> str:
    """The text as it is stored: without NUL and lone surrogates, which Postgres refuses, and at most LONGEST_TEXT."""
    text = text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT // 2] + " … " + text[-LONGEST_TEXT // 2 :]
