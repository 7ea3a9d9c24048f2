"""`waybill dead-letters`: what was given up, why, and what is done about it."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.exits import guarded

if TYPE_CHECKING:
    from ops.dead_letters.filter import Filter

dead_letters_app = typer.Typer(
    help="What was given up: look at it, send it again, or discard it. Each change is recorded with who, when and why.",
    no_args_is_help=True,
)
LAST_ID = 2**63 - 1  # bigint


class Reason(StrEnum):
    """The reasons of `outbox.tables`, which a test holds equal to this list."""

    REJECTED = "rejected"
    RETRIES_EXHAUSTED = "retries_exhausted"
    KILLED_WORKER = "killed_worker"
    DELIVERY_LIMIT = "delivery_limit"
    UNDECODABLE = "undecodable"
    EXPIRED = "expired"
    UNROUTED = "unrouted"
    UNPUBLISHABLE = "unpublishable"


class State(StrEnum):
    """Whose dead letters are listed."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ALL = "all"


Ids = Annotated[
    list[int] | None, typer.Option("--id", min=1, max=LAST_ID, help="a dead letter's number; may be given again")
]
Queues = Annotated[list[str] | None, typer.Option("--queue", help="the queue it died in; may be given again")]
Steps = Annotated[list[str] | None, typer.Option("--step", help="the step that gave it up; may be given again")]
Types = Annotated[list[str] | None, typer.Option("--type", help="the event's type; may be given again")]
Order = Annotated[
    str | None, typer.Option(help="the order that it is about: its id, its number or its client's reference")
]
Fingerprint = Annotated[str | None, typer.Option(help="its cause, as `groups` shows it")]
Why = Annotated[Reason | None, typer.Option("--reason", help="why it was given up")]
Since = Annotated[str | None, typer.Option(help="first seen since: a time, or how long ago (30m, 2h, 3d)")]
Until = Annotated[str | None, typer.Option(help="first seen until: a time, or how long ago")]
Limit = Annotated[int | None, typer.Option(min=1, help="at most so many, the oldest first")]
All = Annotated[bool, typer.Option("--all", help="all dead letters, where nothing else says which")]
By = Annotated[str | None, typer.Option(help="who does it; you on this machine if not given")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
States = Annotated[State, typer.Option(help="dead letters in this state")]


@dead_letters_app.command("list")
def list_(
    id_: Ids = None,
    queue: Queues = None,
    step: Steps = None,
    type_: Types = None,
    order: Order = None,
    fingerprint: Fingerprint = None,
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    state: States = State.OPEN,
    as_json: Json = False,
) -> None:
    """List dead letters, the oldest first."""
    from ops.cli.dead_letters_commands import list_dead_letters

    chosen = _filter(id_, queue, step, type_, order, fingerprint, reason, since, until, limit)
    guarded(list_dead_letters, chosen, _state(state), as_json=as_json)


@dead_letters_app.command()
def groups(
    id_: Ids = None,
    queue: Queues = None,
    step: Steps = None,
    type_: Types = None,
    order: Order = None,
    fingerprint: Fingerprint = None,
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    state: States = State.OPEN,
    as_json: Json = False,
) -> None:
    """Dead letters by cause, the commonest first."""
    from ops.cli.dead_letters_commands import list_groups

    chosen = _filter(id_, queue, step, type_, order, fingerprint, reason, since, until, limit)
    guarded(list_groups, chosen, _state(state), as_json=as_json)


@dead_letters_app.command()
def show(
    dead_letter: Annotated[int, typer.Argument(min=1, max=LAST_ID, help="its number")], as_json: Json = False
) -> None:
    """One dead letter: its message, its error with the trace, and what was done with it."""
    from ops.cli.dead_letters_commands import show_dead_letter

    guarded(show_dead_letter, dead_letter, as_json=as_json)


@dead_letters_app.command()
def replay(
    id_: Ids = None,
    queue: Queues = None,
    step: Steps = None,
    type_: Types = None,
    order: Order = None,
    fingerprint: Fingerprint = None,
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    all_: All = False,
    rate: Annotated[
        str | None, typer.Option(help="dead letters a second, such as 5/s; all at once if not given")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and change nothing")] = False,
    by: By = None,
    why: Annotated[str, typer.Option(help="what has changed, so that it will go well now")] = "",
    as_json: Json = False,
) -> None:
    """Send open dead letters again, each to the queue it died in; an effect that is done is not done again."""
    from ops.cli.dead_letters_commands import replay_dead_letters

    chosen = _filter(id_, queue, step, type_, order, fingerprint, reason, since, until, limit)
    guarded(replay_dead_letters, chosen, everything=all_, rate=rate, dry_run=dry_run, by=by, why=why, as_json=as_json)


@dead_letters_app.command()
def discard(
    why: Annotated[str, typer.Option(help="why what it stands for need not happen")],
    id_: Ids = None,
    queue: Queues = None,
    step: Steps = None,
    type_: Types = None,
    order: Order = None,
    fingerprint: Fingerprint = None,
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    all_: All = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Put open dead letters away: nobody is told of them any more, and what they stand for does not happen."""
    from ops.cli.dead_letters_commands import discard_dead_letters

    chosen = _filter(id_, queue, step, type_, order, fingerprint, reason, since, until, limit)
    guarded(discard_dead_letters, chosen, everything=all_, by=by, why=why, as_json=as_json)


@dead_letters_app.command()
def restore(
    id_: Ids = None,
    queue: Queues = None,
    step: Steps = None,
    type_: Types = None,
    order: Order = None,
    fingerprint: Fingerprint = None,
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    all_: All = False,
    by: By = None,
    why: Annotated[str, typer.Option(help="why it must happen after all")] = "",
    as_json: Json = False,
) -> None:
    """Open discarded dead letters again."""
    from ops.cli.dead_letters_commands import restore_dead_letters

    chosen = _filter(id_, queue, step, type_, order, fingerprint, reason, since, until, limit)
    guarded(restore_dead_letters, chosen, everything=all_, by=by, why=why, as_json=as_json)


def _filter(
    ids: list[int] | None,
    queues: list[str] | None,
    steps: list[str] | None,
    types: list[str] | None,
    order: str | None,
    fingerprint: str | None,
    reason: Reason | None,
    since: str | None,
    until: str | None,
    limit: int | None,
) -> "Filter":
    from ops.dead_letters.filter import Filter

    said = None if reason is None else reason.value
    return Filter(ids or (), queues or (), steps or (), types or (), order, fingerprint, said, since, until, limit)


def _state(state: State) -> str | None:
    return None if state is State.ALL else state.value
