"""How a command ends that a person got wrong, or that cannot do its work: one line on stderr and an exit code."""

from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

P = ParamSpec("P")
R = TypeVar("R")


def end(message: str, code: int) -> NoReturn:
    """End the program with a message and an exit code."""
    from rich.markup import escape

    Console(stderr=True, highlight=False).print(f"[bold red]waybill:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def guarded(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call it; what a person can put right becomes one line and an exit code."""
    from ops.errors import OpsError

    try:
        return call(*args, **kwargs)
    except OpsError as error:
        end(str(error), error.exit_code)
    except KeyboardInterrupt:
        end("stopped by Ctrl-C; everything that was started is stopped again", 130)
