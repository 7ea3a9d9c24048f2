"""What Prometheus reads during `lab observe`: the shipped files, with every time divided by one factor.

An alert that waits for two minutes waits for four seconds, and its expression is the shipped one. Pure.
"""

import re

from lab.observe.rules import scaled
from lab.stack.servers.prometheus import CONFIG, RULES

FACTOR = 30
SCRAPE_SECONDS = 1  # not half a second, as the factor would have it: rates want some scrapes in the shortest window
_INTERVAL = re.compile(r"^(  (?:scrape|evaluation)_interval: )\S+$", re.MULTILINE)


def scaled_file(name: str, text: str) -> str:
    """The text of a shipped file as it is read in a hurry. Raises ValueError for other files and intervals."""
    if name == RULES:
        return scaled(text, FACTOR)
    if name == CONFIG:
        quick, found = _INTERVAL.subn(rf"\g<1>{SCRAPE_SECONDS}s", text)
        if found != 2:
            raise ValueError(f"{name} sets {found} global intervals; one to scrape and one to evaluate are looked for")
        return quick
    raise ValueError(f"{name}: nobody knows which times of it are to be divided")
