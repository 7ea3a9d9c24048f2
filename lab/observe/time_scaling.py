"""Time scaling: the files that Prometheus reads during `lab observe`, with every time divided by one factor. Pure.

An alert that waits for two minutes waits for four seconds; its expression stays the shipped one.
"""

import re

from lab.observe.rules import scaled
from lab.stack.servers.prometheus import CONFIG, RULES

FACTOR = 30
SCRAPE_SECONDS = 1  # the factor would give half a second: the shortest window needs several scrapes for a rate
_INTERVAL = re.compile(r"^(  (?:scrape|evaluation)_interval: )\S+$", re.MULTILINE)


def scaled_file(name: str, text: str) -> str:
    """The text of a shipped file, scaled. Raises ValueError for other files and intervals."""
    if name == RULES:
        return scaled(text, FACTOR)
    if name == CONFIG:
        quick, found = _INTERVAL.subn(rf"\g<1>{SCRAPE_SECONDS}s", text)
        if found != 2:
            raise ValueError(f"{name} sets {found} global intervals; one to scrape and one to evaluate are required")
        return quick
    raise ValueError(f"{name}: which of its times to divide is not defined")
