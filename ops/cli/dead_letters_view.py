"""The output of `waybill dead-letters`: blocks of lines and tables for people, JSON for programs.

An order or a fingerprint is never cut, because the next command needs it. So a dead letter or a cause is a block on a
terminal, which may be narrow, and one line in a pipe, for `grep`. Called by `ops.cli.dead_letters_commands`.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape as _escape
from rich.table import Column, Table

from ops.dead_letters.service import ChangeReport
from orders.tracking.wording import one_line
from outbox.dead_letters.queries import DeadLetter, Group, WholeDeadLetter
from outbox.dead_letters.replay_plan import RefusedDeadLetter, Sending

SHOWN = 50  # dead letters printed of a long list
ERROR_CHARACTERS = 160

console = Console(highlight=False)


def print_json(value: object) -> None:
    """Print one JSON document on one line; times in ISO form, other values without a JSON form as text."""
    print(json.dumps(value, default=_plain, ensure_ascii=False))  # noqa: T201 - this is the output


def dead_letter_json(dead_letter: DeadLetter, numbers: Mapping[str, str]) -> dict[str, Any]:
    """A dead letter's facts: `order` is the event's subject, `number` the order's number if the order is known."""
    facts = {"order" if name == "subject" else name: value for name, value in asdict(dead_letter).items()}
    return {**facts, "number": numbers.get(dead_letter.subject or "")}


def whole_json(whole: WholeDeadLetter, numbers: Mapping[str, str]) -> dict[str, Any]:
    """A dead letter with its message. The body is base64, and text as well if it is UTF-8."""
    return {
        **dead_letter_json(whole.dead_letter, numbers),
        "error_trace": whole.error_trace,
        "headers": whole.headers,
        "properties": whole.properties,
        "body": _text(whole.body),
        "body_base64": base64.b64encode(whole.body).decode(),
        "history": [asdict(action) for action in whole.actions],
    }


def plan_json(report: ChangeReport) -> dict[str, Any]:
    """The plan of a replay."""
    return {
        "would_replay": report.dead_letters,
        "effects_done_already": sum(sending.effect_done for sending in report.sendings),
        "orders": [{"order": order, "number": number} for order, number in report.orders.items()],
        "dead_letters": [
            {
                "dead_letter": sending.dead_letter.id,
                "event_id": sending.event.id,
                "order": sending.event.subject,
                "to": sending.destination,
                "generation": sending.event.generation,
                "due_at": sending.due_at,
                "effect_done": sending.effect_done,
            }
            for sending in report.sendings
        ],
        "refused": refused_json(report.refused),
    }


def refused_json(refused: Iterable[RefusedDeadLetter]) -> list[dict[str, Any]]:
    """The dead letters that were refused and stay unchanged, each with the reason."""
    return [{"dead_letter": one.dead_letter.id, "why": one.why} for one in refused]


def print_dead_letters(dead_letters: Sequence[DeadLetter], numbers: Mapping[str, str], *, more: bool) -> None:
    """Print dead letters, each with its order. `more`: the list was cut."""
    if not dead_letters:
        console.print("No such dead letters.")
        return
    for one in dead_letters:
        generation = f"generation {one.generation}" if one.generation else ""
        _print_block(
            (
                f"[bold]dead letter {one.id}[/]",
                one.state,
                f"{_printable(one.queue)}: {one.reason}",
                generation,
                _replays(one.replay_count),
                f"since {_time(one.first_seen_at)}",
            ),
            (_printable(_order(one.subject, numbers)), _printable(one.type or "")),
            (_printable(_short(one.error)),),
        )
    if more:
        console.print(
            f"Only the oldest {len(dead_letters)} are shown; --limit shows more, `groups` shows them by cause."
        )


def group_json(group: Group) -> dict[str, object]:
    """A group as JSON. The outbox counts subjects, which are orders here."""
    return {"orders" if name == "subjects" else name: value for name, value in asdict(group).items()}


def print_groups(groups: Sequence[Group]) -> None:
    """Print the causes of dead letters."""
    if not groups:
        console.print("No such dead letters.")
        return
    for one in groups:
        _print_block(
            (
                f"[bold]{_count(one.dead_letters, 'dead letter')}[/] of {_count(one.subjects, 'order')}",
                f"{_printable(one.queue)}: {one.reason}",
                _replays(one.replay_count),
                f"{_time(one.first_seen_at)} to {_time(one.last_seen_at)}",
            ),
            (f"fingerprint {_printable(one.fingerprint)}" if one.fingerprint else "",),
            (_printable(_short(one.error)),),
        )


def _print_block(*lines: Sequence[str]) -> None:
    """Print a dead letter or a cause: a block on a terminal, one line in a pipe. Empty parts are left out."""
    texts = [text for parts in lines if (text := "  ".join(part for part in parts if part))]
    console.print(("\n  " if console.is_terminal else "  ").join(texts), soft_wrap=True)


def _order(subject: str | None, numbers: Mapping[str, str]) -> str:
    """The number and id of an order; another subject unchanged."""
    return " ".join(part for part in (numbers.get(subject or ""), subject) if part)


def _replays(count: int) -> str:
    return "" if not count else f"replayed {count} times" if count > 1 else "replayed once"


def print_whole(whole: WholeDeadLetter, numbers: Mapping[str, str]) -> None:
    """Print one dead letter with its message and its history."""
    dead_letter = whole.dead_letter
    console.print(
        f"[bold]Dead letter {dead_letter.id}[/]  {dead_letter.state}  "
        f"{_printable(dead_letter.queue)}: {dead_letter.reason}"
    )
    facts = {
        "event": dead_letter.event_id
        and f"{dead_letter.type} {dead_letter.event_id} generation {dead_letter.generation}",
        "order": _order(dead_letter.subject, numbers),
        "dead-lettered": dead_letter.died_at and _time(dead_letter.died_at),
        "seen": f"{_time(dead_letter.first_seen_at)} to {_time(dead_letter.last_seen_at)}",
        "replays": str(dead_letter.replay_count),
        "fingerprint": dead_letter.fingerprint,
        "error": dead_letter.error and f"{dead_letter.error_class or ''} {dead_letter.error}".strip(),
        "headers": json.dumps(whole.headers, ensure_ascii=False),
        "properties": json.dumps(whole.properties, ensure_ascii=False),
        "body": f"{len(whole.body)} bytes: {_short(_text(whole.body) or repr(whole.body[:ERROR_CHARACTERS]), 2000)}",
    }
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<13} {_printable(value)}", soft_wrap=True)
    if whole.error_trace:
        console.print(_printable(whole.error_trace.rstrip()), style="dim", soft_wrap=True)
    for action in whole.actions:
        due = f", due {_time(action.due_at)}" if action.due_at else ""
        as_generation = f" as generation {action.generation}{due}" if action.generation else ""
        why = f": {action.why}" if action.why else ""
        line = f"{_time(action.acted_at)}  {action.action} by {action.actor}{as_generation}{why}"
        console.print(f"  {_printable(line)}", soft_wrap=True)


def print_plan(report: ChangeReport) -> None:
    """The plan of a replay."""
    # The number is never cut: the next command needs it.
    order = Column("Order", no_wrap=True, min_width=max(map(len, report.orders.values()), default=0))
    table = Table("Dead letter", "Type", order, "To", "Generation", "Due", "Effect")
    for sending in report.sendings[:SHOWN]:
        table.add_row(*_planned(sending, report.orders))
    if report.sendings:
        console.print(table)
    if len(report.sendings) > SHOWN:
        console.print(f"… and {len(report.sendings) - SHOWN} more.")
    done = sum(sending.effect_done for sending in report.sendings)
    console.print(
        f"{_count(report.dead_letters, 'dead letter')} of {_count(len(report.orders), 'order')} would be sent; "
        f"{_count(done, 'effect')} done already will be acknowledged as duplicates. Nothing was changed."
    )
    print_refused(report)


def print_done(report: ChangeReport, done: str) -> None:
    """Print how many dead letters were changed, and which were refused."""
    one = report.dead_letters == 1
    console.print(f"{_count(report.dead_letters, 'dead letter')} {'is' if one else 'are'} {done}.")
    print_refused(report)


def print_refused(report: ChangeReport) -> None:
    """The dead letters that were refused and stay unchanged, each with the reason."""
    for one in report.refused[:SHOWN]:
        console.print(f"  [yellow]dead letter {one.dead_letter.id} stays[/]: {_printable(one.why)}", soft_wrap=True)
    if len(report.refused) > SHOWN:
        console.print(f"  … and {len(report.refused) - SHOWN} more stay as they are.")


def _planned(sending: Sending, orders: dict[str, str]) -> tuple[str, ...]:
    return (
        str(sending.dead_letter.id),
        _printable(sending.event.type),
        _printable(orders.get(sending.event.subject, sending.event.subject)),
        _printable(sending.destination or "all listeners"),
        str(sending.event.generation),
        _time(sending.due_at) if sending.due_at else "at once",
        "done already" if sending.effect_done else "",
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _printable(text: str) -> str:
    """Foreign text made safe for a terminal: our markup is escaped, and its control characters are spelled out."""
    return _escape("".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text))


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _short(text: str | None, longest: int = ERROR_CHARACTERS) -> str:
    text = one_line(text)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
