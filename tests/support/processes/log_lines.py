"""What a process logs. Logging belongs to a whole process, so each of these is one."""

import json
import subprocess
import sys
from textwrap import dedent
from typing import Any

from tests.support.paths import ROOT
from tests.support.probes.traces import TRACEPARENT

ORDER_ID = "0190163d-8694-739b-aea5-966c26f8ad91"
FIELDS = {"order_id", "event_id", "task_id", "step", "attempt", "trace_id"}
PRELUDE = f"""
import asyncio, logging, sys, threading, warnings
from uuid import UUID
from runtime.logging import configure_logging, get_logger
from runtime.settings import Settings
from runtime.log_context import LogContext, bind, bind_attempt, bind_order, redact

ORDER_ID, TRACEPARENT = {ORDER_ID!r}, {TRACEPARENT!r}
ours, theirs = get_logger("ours"), logging.getLogger("library")
settings = Settings(database_url="postgresql://h/d", amqp_url="amqp://h/", log_format={{log_format!r}})
configure_logging(settings, "test")
"""


def attribute(code: str, log_format: str = "json", *, exit_code: int = 0) -> str:
    """What a process writes to standard error; it must end with this exit code."""
    script = PRELUDE.format(log_format=log_format) + dedent(code)
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == exit_code, ended.stderr
    assert not ended.stdout
    return ended.stderr


def printed(code: str, stderr: int) -> str:
    """What a process prints whose standard error is this file. Its exit code may say that it could not write there."""
    script = PRELUDE.format(log_format="json") + dedent(code)
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
    )
    return ended.stdout


def lines(code: str, *, exit_code: int = 0) -> list[dict[str, Any]]:
    """The same, line by line."""
    return [json.loads(line) for line in attribute(code, exit_code=exit_code).splitlines()]
