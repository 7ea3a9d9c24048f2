"""The proof is tested itself: sound code passes, and broken code is detected."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.prove.parameters import Parameters
from lab.prove.run import prove
from orders.workflow import POOLS
from tests.support.paths import ROOT
from tests.support.servers import databases as servers

SESSIONS = ROOT / ".local" / "test-prove"
DUPLICATES = {"duplicate_delivery": 4, "sap_outage": 1}
DEATHS = {"kill_relay": 3, "cut_connections_rabbitmq": 2}


def parameters(
    folder: Path,
    counts: Mapping[str, int],
    commands: Mapping[str, tuple[str, ...]] | None = None,
    patience: float = 60,
) -> Parameters:
    return Parameters(
        seed=11,
        orders=60,
        counts=counts,
        seconds=7,
        bound=40,
        patience=patience,
        recovery_seconds=240,
        least_faults=2,
        least_kinds=2,
        folder=folder,
        commands=commands or {},
    )


def broken(module: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"tests.support.processes.{module}", *words)


def last_line(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The figures, and the whole output for a failure's message."""
    printed = capsys.readouterr().out
    return json.loads(printed.strip().splitlines()[-1]), printed


def test_sound_code_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with servers.session_folder(SESSIONS) as folder:
        code = prove(
            parameters(folder, {**DUPLICATES, **DEATHS, "kill_worker_child": 2, "restart_postgres": 1, "garbage": 1})
        )

    figures, printed = last_line(capsys)
    assert code == 0, printed
    assert list(figures)[:11] == [
        "seed", "orders", "faults", "fault_kinds", "lost", "duplicated", "out_of_order", "dead_letters", "replayed",
        "unfinished", "seconds",
    ]  # fmt: skip
    assert figures["orders"] == 60
    assert figures["discarded"] == 16  # the garbage, two pieces in each of eight queues


def test_broken_code_is_found_out_by_what_is_duplicated_and_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Two breaks in one system, each with a figure that only it can move.

    An inbox that forgets doubles effects and loses none; a cursor that passes unconfirmed pages loses events, and what
    a relay publishes again is no effect.
    """
    workers = {f"worker-{pool}": broken("broken_inbox", "worker", pool) for pool in POOLS}
    commands = {**workers, "relay": broken("broken_cursor", "relay")}
    with servers.session_folder(SESSIONS) as folder:
        code = prove(parameters(folder, {**DUPLICATES, **DEATHS}, commands, patience=8))

    figures, printed = last_line(capsys)
    assert code == 1, printed
    assert figures["duplicated"] > 0, printed
    assert figures["lost"] > 0, printed
