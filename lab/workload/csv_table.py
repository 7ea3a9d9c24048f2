"""A CSV file with a header as rows of checked values; an error names file, line, column and value.

UTF-8, quotes as in RFC 4180, `NULL` or an empty field for a missing value. In some copies of this data a comma inside
an address lost its quotes ("Rua do Paço, 67" takes two fields). Such a comma has a blank after it and a separator has
none, so a row with too many fields is joined by that rule, counted, and refused if it still does not fit; a row with
the right number of fields is never changed.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Protocol

from ops.errors import OpsError


class InputError(OpsError):
    """An input file is missing or holds something unusable."""


class _Reader(Protocol):
    """The type that csv.reader returns."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]:
        """Itself."""


@dataclass(frozen=True)
class Row:
    """One row; every reading method raises InputError that names line and column."""

    path: Path
    line: int
    values: dict[str, str]

    def text(self, column: str) -> str:
        """A value that is required."""
        value = self.optional(column)
        if value is None:
            raise self.error(column, "must not be empty")
        return value

    def optional(self, column: str) -> str | None:
        """A value, None if it is missing."""
        value = self.values[column].strip()
        return None if value in {"", "NULL"} else value

    def decimal(self, column: str, *, below: Decimal | None = None) -> Decimal:
        """A decimal number of 0 or more with at most 4 decimals, less than `below`."""
        text = self.text(column)
        try:
            value = Decimal(text)
        except InvalidOperation as error:
            raise self.error(column, "is not a number") from error
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or value.is_signed() or not -4 <= exponent <= 0:
            raise self.error(column, "is not a plain number of 0 or more with at most 4 decimals")
        if below is not None and value >= below:
            raise self.error(column, f"is not below {below}")
        return value

    def whole(self, column: str, *, least: int = 0) -> int:
        """A whole number from `least` to what a 32-bit column holds."""
        text = self.text(column)
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= 2_147_483_647:
            raise self.error(column, f"is not a whole number from {least} to 2147483647")
        return int(text)

    def error(self, column: str, problem: str) -> InputError:
        """The error on a value of this row."""
        return InputError(f"{self.path}, line {self.line}, column {column}: {self.values[column]!r} {problem}")


@dataclass(frozen=True)
class Table:
    """The rows of a file, and how many of them were joined."""

    path: Path
    rows: tuple[Row, ...]
    joined: int


def read_table(path: Path, columns: tuple[str, ...]) -> Table:
    """The rows of a file that has at least `columns`. Raises InputError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _table(path, csv.reader(file, strict=True), columns)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; the folder must hold it") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: byte {error.object[error.start]:#04x} {error.reason}") from error


def _table(path: Path, reader: "_Reader", columns: tuple[str, ...]) -> Table:
    header: list[str] = next(_checked(path, reader), [])
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(f"{path}, line 1: no column {', '.join(missing)}; there are {', '.join(header) or 'none'}")
    rows, joined = [], 0
    for fields in _checked(path, reader):
        if not fields:
            continue  # an empty line
        whole = fields if len(fields) <= len(header) else _joined(fields)
        if len(whole) != len(header):
            raise InputError(
                f"{path}, line {reader.line_num}: {len(fields)} fields where the header has {len(header)}: {fields}"
            )
        joined += whole is not fields
        rows.append(Row(path, reader.line_num, dict(zip(header, whole, strict=True))))
    return Table(path, tuple(rows), joined)


def _checked(path: Path, reader: "_Reader") -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from error


def _joined(fields: list[str]) -> list[str]:
    """The fields, with each one that begins with a blank joined to the field before it."""
    whole: list[str] = []
    for field in fields:
        if whole and field.startswith(" "):
            whole[-1] += f",{field}"
        else:
            whole.append(field)
    return whole
