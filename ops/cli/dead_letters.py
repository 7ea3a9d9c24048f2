"""`waybill dead-letters`: the commands and their options. `ops.cli.dead_letters_commands` runs them."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.choices import one_of
from ops.cli.exits import guarded
from ops.cli.filter_options import LAST_ID, with_filter
from outbox.dead_letter_reason import DEAD_LETTER_STATES

if TYPE_CHECKING:
    from ops.dead_letters.filter import Filter

dead_letters_app = typer.Typer(
    help="Dead letters: list, replay or discard them. Each change is recorded with its actor, time and reason.",
    no_args_is_help=True,
)
ALL_STATES = "all"
STATES = (*DEAD_LETTER_STATES, ALL_STATES)

All = Annotated[bool, typer.Option("--all", help="all dead letters; needed where no other option selects some")]
By = Annotated[str | None, typer.Option(help="the actor to record; default: the current user and host")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
State = Annotated[
    str, typer.Option(parser=one_of(STATES), metavar="STATE", help=f"dead letters in this state: {', '.join(STATES)}")
]


@dead_letters_app.command("list")
@with_filter
def list_(chosen: "Filter", state: State = "open", as_json: Json = False) -> None:
    """List dead letters, the oldest first."""
    from ops.cli.dead_letters_commands import list_dead_letters

    guarded(list_dead_letters, chosen, _one_state(state), as_json=as_json)


@dead_letters_app.command()
@with_filter
def groups(chosen: "Filter", state: State = "open", as_json: Json = False) -> None:
    """List the causes of dead letters, the most common first."""
    from ops.cli.dead_letters_commands import list_groups

    guarded(list_groups, chosen, _one_state(state), as_json=as_json)


@dead_letters_app.command()
def show(
    dead_letter: Annotated[int, typer.Argument(min=1, max=LAST_ID, help="its number")], as_json: Json = False
) -> None:
    """Show one dead letter: its message, its error with the trace, and its replays and discards."""
    from ops.cli.dead_letters_commands import show_dead_letter

    guarded(show_dead_letter, dead_letter, as_json=as_json)


@dead_letters_app.command()
@with_filter
def replay(
    chosen: "Filter",
    all_: All = False,
    rate: Annotated[str | None, typer.Option(help="dead letters a second, such as 5/s; default: all at once")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and change nothing")] = False,
    by: By = None,
    why: Annotated[str, typer.Option(help="the reason to record: what was repaired")] = "",
    as_json: Json = False,
) -> None:
    """Send open dead letters again, each to the queue that it was in. An effect that is done is not repeated."""
    from ops.cli.dead_letters_commands import replay_dead_letters

    guarded(replay_dead_letters, chosen, everything=all_, rate=rate, dry_run=dry_run, by=by, why=why, as_json=as_json)


@dead_letters_app.command()
@with_filter
def discard(
    chosen: "Filter",
    why: Annotated[str, typer.Option(help="the reason to record: why these effects are not needed")],
    all_: All = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Close open dead letters without a replay: their effects will not happen, and they raise no more alerts."""
    from ops.cli.dead_letters_commands import discard_dead_letters

    guarded(discard_dead_letters, chosen, everything=all_, by=by, why=why, as_json=as_json)


@dead_letters_app.command()
@with_filter
def restore(
    chosen: "Filter",
    all_: All = False,
    by: By = None,
    why: Annotated[str, typer.Option(help="the reason to record: why the effects are needed after all")] = "",
    as_json: Json = False,
) -> None:
    """Open discarded dead letters again."""
    from ops.cli.dead_letters_commands import restore_dead_letters

    guarded(restore_dead_letters, chosen, everything=all_, by=by, why=why, as_json=as_json)


def _one_state(state: str) -> str | None:
    return None if state == ALL_STATES else state
