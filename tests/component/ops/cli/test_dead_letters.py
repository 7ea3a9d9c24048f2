"""`waybill dead-letters` as people and programs use it, on a real database."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ops.cli import dead_letters_view as view
from ops.cli.main import app
from orders import service
from orders.model import Customer, Line, NewOrder
from outbox.envelope import Event
from runtime.settings import load_settings
from tests.support.builders.dead_letters import DeadLetterDatabase, dead_letter_for
from tests.support.builders.events import new_event
from tests.support.builders.orders import sample_order
from tests.support.fixtures.dead_letter_commands import Keyboard


def placed(keyboard: Keyboard) -> tuple[UUID, str]:
    """An order: its id and its number."""
    order = sample_order()
    new = NewOrder(reference=order.reference, customer=order.customer, currency=order.currency, lines=order.lines)
    assert isinstance(order.customer, Customer)
    assert all(isinstance(line, Line) for line in order.lines)

    async def place(database: DeadLetterDatabase) -> Any:
        return await database.do(lambda tx: service.place(tx, new, "urn:test"))

    made = keyboard.in_database(place)
    return made.order_id, made.number


def test_a_program_reads_the_list_and_replays_all_and_finds_what_it_did(keyboard: Keyboard) -> None:
    event = new_event("order-1", generation=2)
    (number,) = keyboard.keep(dead_letter_for(event))
    (listed,) = keyboard.json("list")
    known = {
        "id": number,
        "queue": "sap",
        "event_id": str(event.id),
        "type": event.type,
        "order": "order-1",
        "reason": "rejected",
        "error_class": "SapRefused",
        "error": "400: no such material",
        "fingerprint": "SapRefused@consumers.adapters.sap:create",
        "state": "open",
        "replay_count": 0,
    }
    assert {name: listed[name] for name in known} == known
    assert listed["first_seen_at"].startswith("20")
    done = keyboard.json("replay", "--all", "--by", "prove", "--why", "healed")
    assert done == {"replayed": 1, "refused": []}
    assert keyboard.json("list") == []
    (row,) = keyboard.sql("SELECT event_id, destination, generation FROM outbox.events")
    assert (row["event_id"], row["destination"], row["generation"]) == (event.id, "sap", 3)
    shown = keyboard.json("show", str(number))
    (action,) = shown["history"]
    assert (action["action"], action["actor"], action["why"]) == ("replay", "prove", "healed")
    assert (shown["state"], shown["replay_count"], shown["body"]) == ("replayed", 1, event.data.decode())


def test_a_refused_dead_letter_is_named_with_its_reason_and_stays(keyboard: Keyboard) -> None:
    good, bad = keyboard.keep(dead_letter_for(), dead_letter_for(headers={}))
    done = keyboard.json("replay", "--id", str(good), "--id", str(bad))
    assert done["replayed"] == 1
    (refused,) = done["refused"]
    assert refused["dead_letter"] == bad
    assert "specversion" in refused["why"]
    printed = keyboard.run("replay", "--all").stdout
    assert "0 dead letters are sent again" in printed
    assert f"dead letter {bad} stays" in printed


def test_more_dead_letters_than_a_batch_are_all_replayed_once(keyboard: Keyboard) -> None:
    keyboard.keep(*(dead_letter_for() if n % 10 else dead_letter_for(headers={}) for n in range(1200)))
    done = keyboard.json("replay", "--all")
    assert (done["replayed"], len(done["refused"])) == (1080, 120)
    (row,) = keyboard.sql("SELECT count(*) AS events, count(DISTINCT event_id) AS distinct FROM outbox.events")
    assert (row["events"], row["distinct"]) == (1080, 1080)


def test_a_limit_takes_the_oldest(keyboard: Keyboard) -> None:
    ids = [keyboard.keep(dead_letter_for())[-1] for _ in range(4)]
    assert keyboard.json("replay", "--all", "--limit", "3")["replayed"] == 3
    assert [dead_letter["id"] for dead_letter in keyboard.json("list")] == ids[3:]


def test_a_rate_spreads_dead_letters_over_time(keyboard: Keyboard) -> None:
    keyboard.keep(*(dead_letter_for() for _ in range(5)))
    assert keyboard.json("replay", "--all", "--rate", "2/s")["replayed"] == 5
    (row,) = keyboard.sql("SELECT count(*) AS n, max(due_at) - min(due_at) AS span FROM outbox.scheduled")
    assert (row["n"], row["span"].total_seconds()) == (5, 2.0)


def test_a_dry_run_says_what_would_be_sent_what_is_done_and_which_orders_are_touched(keyboard: Keyboard) -> None:
    order_id, number = placed(keyboard)
    done = new_event(str(order_id))
    dead_letters = keyboard.keep(
        dead_letter_for(new_event(str(order_id))), dead_letter_for(done, "email"), dead_letter_for(headers={})
    )
    keyboard.in_database(lambda database: database.delivery(done, "done", "email"))
    plan = keyboard.json("replay", "--all", "--dry-run")
    assert (plan["would_replay"], plan["effects_done_already"]) == (2, 1)
    assert plan["orders"] == [{"order": str(order_id), "number": number}]
    assert [(one["dead_letter"], one["to"], one["effect_done"]) for one in plan["dead_letters"]] == [
        (dead_letters[0], "sap", False),
        (dead_letters[1], "email", True),
    ]
    assert [one["dead_letter"] for one in plan["refused"]] == [dead_letters[2]]
    printed = keyboard.run("replay", "--all", "--dry-run").stdout
    assert number in printed
    assert "2 dead letters of 1 order would be sent; 1 effect done already will be acknowledged" in " ".join(
        printed.split()
    )
    assert len(keyboard.json("list")) == 3
    assert not keyboard.sql("SELECT FROM outbox.events WHERE destination IS NOT NULL")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--queue", "email"], [1]),
        (["--step", "sync_order_to_sap"], [0]),
        (["--queue", "email", "--queue", "sap"], [0, 1]),
        (["--type", "order.heard_of"], [2]),
        (["--order", "01890a5d-ac96-774b-bcce-b302099a8057"], [1]),
        (["--fingerprint", "another cause"], [1]),
        (["--reason", "unrouted"], [2]),
        (["--since", "1h"], [0, 1, 2]),
        (["--until", "1h"], []),
        (["--state", "discarded"], []),
        (["--state", "all", "--limit", "2"], [0, 1]),
    ],
)
def test_each_option_selects_the_dead_letters_that_match(
    keyboard: Keyboard, words: list[str], wanted: list[int]
) -> None:
    about: Event = new_event("01890a5d-ac96-774b-bcce-b302099a8057")
    heard_of = new_event(type="order.heard_of")
    dead_letters = [
        dead_letter_for(),
        dead_letter_for(about, "email", fingerprint="another cause"),
        dead_letter_for(heard_of, "unrouted", reason="unrouted"),
    ]
    ids = [keyboard.keep(dead_letter)[-1] for dead_letter in dead_letters]
    assert [dead_letter["id"] for dead_letter in keyboard.json("list", *words)] == [ids[n] for n in wanted]


def test_an_order_is_named_by_its_id_its_number_or_its_reference(keyboard: Keyboard) -> None:
    order_id, number = placed(keyboard)
    mine, _ = keyboard.keep(dead_letter_for(new_event(str(order_id))), dead_letter_for())
    (row,) = keyboard.sql("SELECT reference FROM orders")
    for name in (str(order_id), str(order_id).upper(), number, row["reference"]):
        (listed,) = keyboard.json("list", "--order", name)
        assert (listed["id"], listed["order"], listed["number"]) == (mine, str(order_id), number)
    assert keyboard.json("replay", "--order", number)["replayed"] == 1
    assert f"{number} {order_id}" in keyboard.run("show", str(mine)).stdout


def test_orders_and_fingerprints_are_not_cut_at_eighty_columns(
    keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, number = placed(keyboard)
    cause = "SapRefused@consumers.adapters.sap:SapClient._refusal_of_a_document_by_its_status"
    (dead_letter,) = keyboard.keep(dead_letter_for(new_event(str(order_id)), fingerprint=cause))
    monkeypatch.setenv("COLUMNS", "80")
    (line,) = keyboard.run("list").stdout.splitlines()
    assert line.startswith(f"dead letter {dead_letter}  open  sap: rejected  ")
    assert f"  {number} {order_id}  " in line
    (line,) = keyboard.run("groups").stdout.splitlines()
    assert line.startswith("1 dead letter of 1 order  sap: rejected  ")
    assert f"  fingerprint {cause}  400: no such material" in line

    monkeypatch.setattr(view, "console", Console(force_terminal=True, width=80, highlight=False))
    _, about, error = keyboard.run("list").stdout.splitlines()
    assert about.startswith(f"  {number} {order_id}  ")
    assert error == "  400: no such material"
    assert keyboard.run("groups").stdout.splitlines()[1] == f"  fingerprint {cause}"


def test_an_action_without_a_reason_ends_with_its_actor(keyboard: Keyboard) -> None:
    (dead_letter,) = keyboard.keep(dead_letter_for())
    keyboard.json("replay", "--all", "--by", "anna")
    (line,) = [one for one in keyboard.run("show", str(dead_letter)).stdout.splitlines() if "replay by anna" in one]
    assert line.endswith("replay by anna as generation 2")


def test_groups_are_shown_by_cause(keyboard: Keyboard) -> None:
    keyboard.keep(
        *(dead_letter_for() for _ in range(3)), dead_letter_for(queue="email", fingerprint="MailRefused@mailer")
    )
    common, rare = keyboard.json("groups")
    assert (common["dead_letters"], common["queue"], rare["dead_letters"]) == (3, "sap", 1)
    printed = keyboard.run("groups").stdout
    assert "MailRefused@mailer" in printed


def test_a_dead_letter_is_discarded_with_a_reason_and_restored(keyboard: Keyboard) -> None:
    (number,) = keyboard.keep(dead_letter_for())
    assert keyboard.json("discard", "--id", str(number), "--why", "a test order")["discarded"] == 1
    assert keyboard.json("list", "--state", "discarded")[0]["id"] == number
    assert keyboard.json("restore", "--all", "--by", "bert")["restored"] == 1
    assert keyboard.json("list")[0]["id"] == number
    printed = keyboard.run("show", str(number)).stdout
    assert "discard by " in printed
    assert "a test order" in printed
    assert "restore by bert" in printed


def test_foreign_text_is_printed_and_never_interpreted(keyboard: Keyboard) -> None:
    hostile = "[bold red]x[/] \x1b[31m [link=http://x]"
    dead_letter = replace(dead_letter_for(body=b"\xff\x00"), error=hostile, subject="[/]", properties={"a": hostile})
    (number,) = keyboard.keep(dead_letter)
    assert "[bold red]x[/]" in keyboard.run("show", str(number)).stdout
    assert "[/]" in keyboard.run("list").stdout
    for words in (["show", str(number)], ["list"], ["groups"]):
        assert "\x1b" not in keyboard.run(*words).stdout
    assert keyboard.json("show", str(number))["body"] is None


@pytest.mark.parametrize(
    ("words", "code", "reported"),
    [
        (["replay"], 2, "select dead letters by"),
        (["replay", "--limit", "5"], 2, "select dead letters by"),
        (["discard", "--why", "x"], 2, "select dead letters by"),
        (["discard", "--all", "--why", " "], 2, "--why is empty"),
        (
            ["replay", "--queue", "sapp"],
            2,
            "--queue 'sapp' has no dead letters and is not one of the queues: validation",
        ),
        (["list", "--queue", "sap.dlq"], 2, "--queue 'sap.dlq' has no dead letters"),
        (["replay", "--order", "WB-99999999"], 2, "--order 'WB-99999999' is not an order; give its id, its number"),
        (["list", "--since", "soon"], 2, "--since 'soon' is neither a time"),
        (["replay", "--all", "--rate", "fast"], 2, "--rate 'fast' is not a number"),
        (["show", "999999999"], 1, "there is no dead letter 999999999"),
        (["show", "99999999999999999999"], 2, "less than or equal to 9223372036854775807"),
    ],
)
def test_a_mistake_is_named_with_its_option_and_value(
    keyboard: Keyboard, words: list[str], code: int, reported: str
) -> None:
    keyboard.keep(dead_letter_for())
    assert reported in " ".join(keyboard.run(*words, code=code).stderr.split())
    assert len(keyboard.json("list")) == 1


def test_an_unreachable_or_unmigrated_database_is_named(
    keyboard: Keyboard, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, reported in (
        ("postgresql://127.0.0.1:1/x", "does not answer"),
        (empty_database_url, "run `waybill migrate`"),
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        load_settings.cache_clear()
        assert reported in keyboard.run("replay", "--all", code=1).stderr


def test_an_order_is_shown_with_its_dead_letters_and_its_next_attempt(keyboard: Keyboard) -> None:
    order_id, _ = placed(keyboard)
    (dead_letter,) = keyboard.keep(dead_letter_for(new_event(str(order_id)), error="400: [no] such material"))
    keyboard.sql(
        "INSERT INTO order_steps (order_id, step, event_type, state, attempt, error, next_attempt_at) VALUES "
        "(:id, 'validate_order', 'order.placed', 'done', 1, NULL, NULL), "
        "(:id, 'reserve_inventory', 'order.validated', 'done', 1, NULL, NULL), "
        "(:id, 'sync_order_to_sap', 'inventory.reserved', 'retrying', 3, 'no answer', '2030-01-01T12:04:00Z')",
        id=order_id,
    )
    result = CliRunner().invoke(app, ["orders", "show", str(order_id)])
    assert result.exit_code == 0, result.output
    assert f"needs attention dead letter {dead_letter} in sap, rejected: 400: [no] such material" in result.stdout
    assert f"`waybill dead-letters show {dead_letter}`" in result.stdout
    stands = "waiting in sap, attempt 3, next attempt 2030-01-01 12:04:00, last error no answer"
    assert f"waits for     sync_order_to_sap: {stands}" in result.stdout
