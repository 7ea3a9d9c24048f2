"""The cursor gives back what went in, and refuses all else."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from api.page_token import decode, encode
from api.problems import ProblemError

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_a_cursor_keeps_the_microsecond() -> None:
    placed_at = datetime(2026, 3, 1, 12, 30, 0, 123457, tzinfo=UTC)

    assert decode(encode(placed_at, ID)) == (placed_at, ID)


@pytest.mark.parametrize(
    "cursor", ["", "x", "!" * 32, "A" * 31, "A" * 33, "A" * 10_000, "f" + "_" * 31, "é" * 32, "A" * 31 + "="]
)
def test_a_foreign_cursor_is_named(cursor: str) -> None:
    with pytest.raises(ProblemError) as caught:
        decode(cursor)

    (error,) = caught.value.members["errors"]
    assert (caught.value.status, error["field"]) == (422, "cursor")
    assert error["value"] == (cursor if len(cursor) <= 100 else cursor[:100] + "…")
