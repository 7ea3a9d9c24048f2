"""The end of a command: its exit code and, for an error that the operator can correct, one line on stderr."""

from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130  # as a shell reports SIGINT


def end(message: str, code: int) -> NoReturn:
    """Print an error in one line and exit with `code`."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False).print(f"[bold red]waybill:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def guarded(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function; an OpsError and Ctrl-C end the program with one line and an exit code."""
    from ops.errors import OpsError

    try:
        return call(*args, **kwargs)
    except OpsError as error:
        end(str(error), error.exit_code)
    except KeyboardInterrupt:
        end("stopped by Ctrl-C; everything that was started is stopped again", INTERRUPTED)


def exit_with(call: Callable[P, int | None], *args: P.args, **kwargs: P.kwargs) -> NoReturn:
    """Call a function, guarded, and exit with the code that it returns, 0 for None."""
    raise typer.Exit(guarded(call, *args, **kwargs) or 0)
