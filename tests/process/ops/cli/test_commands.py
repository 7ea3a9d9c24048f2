"""`waybill` commands as processes: what they print, and their exit codes."""

import asyncio
import json
import os
import subprocess
import sys

from tests.support.builders.audited_orders import (
    AuditedOrders,
)
from tests.support.builders.dead_letters import dead_letter_for
from tests.support.fixtures.dead_letter_commands import NOWHERE, Keyboard
from tests.support.paths import ROOT
from tests.support.processes.sandboxes import Sap


def test_the_installed_command_says_the_same_as_a_process(keyboard: Keyboard) -> None:
    keyboard.keep(dead_letter_for(), dead_letter_for(headers={}))
    words = ["dead-letters", "replay", "--all", "--by", "prove", "--why", "healed", "--json"]
    result = subprocess.run(
        [sys.executable, "-m", "ops.cli", *words],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": keyboard.url, "AMQP_URL": NOWHERE},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    done = json.loads(result.stdout)
    assert done["replayed"] == 1
    assert [sorted(refused) for refused in done["refused"]] == [["dead_letter", "why"]]


async def test_the_command_prints_the_report_as_json_and_sets_the_exit_code(
    audited: AuditedOrders, own_sap: Sap, module_database: str
) -> None:
    order = await audited.completed()
    words = ("--since", audited.since.isoformat())
    environment = {
        "DATABASE_URL": module_database,
        "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
        "SAP_URL": own_sap.url,
        "DOCUMENTS_DIR": str(audited.documents),
    }
    code, output = await asyncio.to_thread(waybill_audit, environment, *words, "--json")
    report = json.loads(output)
    assert (code, report["orders"], report["clean"]) == (0, 1, True)
    await audited.harness.sql("DELETE FROM reservations WHERE order_id = :id", id=order.id)
    code, output = await asyncio.to_thread(waybill_audit, environment, *words)
    assert code == 1
    assert "Overdue: 1" in output
    assert order.number in output


def waybill_audit(environment: dict[str, str], *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "ops.cli", "orders", "audit", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout
