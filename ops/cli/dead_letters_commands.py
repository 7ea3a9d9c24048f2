"""The bodies of `waybill dead-letters`: each calls `ops.dead_letters.service` and prints the result.

They raise OpsError for a fault that the operator can correct. Called by `ops.cli.dead_letters`.
"""

import getpass
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime

from ops.cli import dead_letters_view as view
from ops.dead_letters import service
from ops.dead_letters.filter import Filter, parse_rate
from ops.errors import OptionError
from ops.target import target_settings
from outbox.dead_letters.queries import Selection
from outbox.dead_letters.replay import Act


def list_dead_letters(chosen: Filter, state: str | None, *, as_json: bool) -> None:
    """Print dead letters: as JSON all of them, for people the first `view.SHOWN`."""
    settings, selection = target_settings(), chosen.selection(state, _now())
    if as_json:
        dead_letters = service.listed(settings, selection)
        numbers = service.numbers(settings, (dead_letter.subject for dead_letter in dead_letters))
        view.print_json([view.dead_letter_json(dead_letter, numbers) for dead_letter in dead_letters])
        return
    limit = selection.limit or view.SHOWN
    dead_letters = service.listed(settings, replace(selection, limit=limit + 1))
    numbers = service.numbers(settings, (dead_letter.subject for dead_letter in dead_letters))
    view.print_dead_letters(dead_letters[:limit], numbers, more=len(dead_letters) > limit)


def list_groups(chosen: Filter, state: str | None, *, as_json: bool) -> None:
    """Print dead letters by cause."""
    groups = service.grouped(target_settings(), chosen.selection(state, _now()))
    if as_json:
        view.print_json([view.group_json(group) for group in groups])
    else:
        view.print_groups(groups)


def show_dead_letter(dead_letter_id: int, *, as_json: bool) -> None:
    """Print one dead letter."""
    settings = target_settings()
    dead_letter = service.shown(settings, dead_letter_id)
    numbers = service.numbers(settings, [dead_letter.dead_letter.subject])
    if as_json:
        view.print_json(view.whole_json(dead_letter, numbers))
    else:
        view.print_whole(dead_letter, numbers)


def replay_dead_letters(
    chosen: Filter, *, everything: bool, rate: str | None, dry_run: bool, by: str | None, why: str, as_json: bool
) -> None:
    """Replay dead letters, or print the plan."""
    selection = _changing(chosen, "open", everything=everything)
    per_second = None if rate is None else parse_rate(rate)
    if dry_run:
        plan = service.planned(target_settings(), selection, per_second)
        if as_json:
            view.print_json(view.plan_json(plan))
        else:
            view.print_plan(plan)
        return
    report = service.replayed(target_settings(), selection, _act(by, why), per_second)
    _print(report, "replayed", "sent again" if rate is None else f"sent again, {rate} a second", as_json=as_json)


def discard_dead_letters(chosen: Filter, *, everything: bool, by: str | None, why: str, as_json: bool) -> None:
    """Discard dead letters."""
    if not why.strip():
        raise OptionError("--why is empty: give the reason why the effects of these dead letters are not needed")
    selection = _changing(chosen, "open", everything=everything)
    report = service.discarded(target_settings(), selection, _act(by, why))
    _print(report, "discarded", "discarded", as_json=as_json)


def restore_dead_letters(chosen: Filter, *, everything: bool, by: str | None, why: str, as_json: bool) -> None:
    """Open discarded dead letters again."""
    selection = _changing(chosen, "discarded", everything=everything)
    report = service.restored(target_settings(), selection, _act(by, why))
    _print(report, "restored", "open again", as_json=as_json)


def _print(report: service.ChangeReport, key: str, done: str, *, as_json: bool) -> None:
    if as_json:
        view.print_json({key: report.dead_letters, "refused": view.refused_json(report.refused)})
    else:
        view.print_done(report, done)


def _changing(chosen: Filter, state: str, *, everything: bool) -> Selection:
    """The selection of a change. Raises OptionError if no option selects anything: a change of all needs --all."""
    if not (chosen.narrows or everything):
        raise OptionError("select dead letters by --id, --queue, --step, --type, --order, --fingerprint, …, or --all")
    return chosen.selection(state, _now())


def _act(by: str | None, why: str) -> Act:
    return Act(_current_user() if by is None or not by.strip() else by.strip(), why.strip())


def _current_user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _now() -> datetime:
    return datetime.now(UTC)
