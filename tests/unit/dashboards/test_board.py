"""How panels come to lie on a page."""

import pytest

from dashboards.board import Panel, Row


def panel(title: str, width: int) -> Panel:
    return Panel(title, "What it is.", (), width=width)


def test_panels_fill_line_after_line() -> None:
    wide, left, right = panel("wide", 24), panel("left", 8), panel("right", 16)

    assert list(Row("Row", (wide, left, right)).lines()) == [(wide,), (left, right)]


@pytest.mark.parametrize("widths", [(8, 8), (16, 16), (24, 8)])
def test_a_line_that_does_not_fill_the_page_is_refused_with_its_panels(widths: tuple[int, int]) -> None:
    panels = panel("one", widths[0]), panel("other", widths[1])

    with pytest.raises(ValueError, match=r"row Row: the widths of the line .*other do not make 24"):
        list(Row("Row", panels).lines())
