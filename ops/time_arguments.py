"""Times as arguments of a command: an age before now, or a time in ISO 8601. Pure."""

import re
from datetime import UTC, datetime, timedelta

from ops.errors import OptionError

_AGE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([smhd])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_time(option: str, value: str, now: datetime) -> datetime:
    """The time of an option's `value`: '90s', '1.5h' or '3d' before `now`, or a time, in UTC if it has no offset.

    Raises OptionError, which names both.
    """
    if age := _AGE.match(value.strip()):
        try:
            return now - timedelta(**{_UNITS[age[2]]: float(age[1])})
        except OverflowError as error:
            raise OptionError(f"{option} {value!r} is before the first year of the calendar") from error
    try:
        read = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise OptionError(
            f"{option} {value!r} is neither a time (2026-03-01T12:30Z) nor an age (90s, 30m, 2h, 3d)"
        ) from error
    return read if read.tzinfo else read.replace(tzinfo=UTC)
