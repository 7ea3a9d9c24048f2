"""Values of an option or argument that come from a table of the program, such as the pools of `orders.workflow`."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import typer

T = TypeVar("T", bound=str)


def one_of(choices: Iterable[T]) -> Callable[[str], T]:
    """A typer parser that takes one of `choices` and refuses everything else with exit code 2."""
    known = {str(choice): choice for choice in choices}

    def parse(value: str) -> T:
        if value not in known:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
        return known[value]

    return parse
