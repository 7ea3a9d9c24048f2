"""The options that choose dead letters, declared once for all commands of `waybill dead-letters`.

`with_filter` gives a command one option for each field of `ops.dead_letters.filter.Filter`, and hands the command the
`Filter` that they make. typer reads a command's options from its signature, so the decorator writes that signature.
"""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

import typer

from ops.cli.choices import one_of
from outbox.dead_letter_reason import DeadLetterReason

if TYPE_CHECKING:
    from ops.dead_letters.filter import Filter

P = ParamSpec("P")

LAST_ID = 2**63 - 1  # bigint
REASONS = tuple(reason.value for reason in DeadLetterReason)
# By field of Filter. An option that is absent is None, and then the field keeps its own default.
OPTIONS: dict[str, object] = {
    "ids": Annotated[
        list[int] | None, typer.Option("--id", min=1, max=LAST_ID, help="a dead letter's number; repeatable")
    ],
    "queues": Annotated[
        list[str] | None, typer.Option("--queue", help="the queue that the message was in; repeatable")
    ],
    "steps": Annotated[list[str] | None, typer.Option("--step", help="the step that dead-lettered it; repeatable")],
    "types": Annotated[list[str] | None, typer.Option("--type", help="the event's type; repeatable")],
    "order": Annotated[
        str | None, typer.Option("--order", help="the event's order: its id, its number or its client's reference")
    ],
    "fingerprint": Annotated[str | None, typer.Option("--fingerprint", help="the cause, as `groups` shows it")],
    "reason": Annotated[
        str | None,
        typer.Option("--reason", parser=one_of(REASONS), metavar="REASON", help=f"one of {', '.join(REASONS)}"),
    ],
    "since": Annotated[
        str | None, typer.Option("--since", help="first seen since then: a time, or an age (30m, 2h, 3d)")
    ],
    "until": Annotated[str | None, typer.Option("--until", help="first seen until then: a time, or an age")],
    "limit": Annotated[int | None, typer.Option("--limit", min=1, help="at most this many, the oldest first")],
}


def with_filter(command: "Callable[Concatenate[Filter, P], None]") -> Callable[..., None]:
    """The command with the options of a filter in place of its first parameter."""

    @functools.wraps(command)
    def with_options(*args: P.args, **values: P.kwargs) -> None:
        from ops.dead_letters.filter import Filter

        given = {name: values.pop(name) for name in OPTIONS}
        command(Filter(**{name: value for name, value in given.items() if value is not None}), *args, **values)  # type: ignore[arg-type]  # as OPTIONS declares them

    _, *own = inspect.signature(command).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in OPTIONS.items()]
    parameters = [*options, *(parameter.replace(kind=keyword) for parameter in own)]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options
