"""Answers of a relay's health endpoint."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.support.deadlines import first_answer

Answer = tuple[int, dict[str, Any]]


def asked(port: int, path: str, seconds: float = 10) -> Answer:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def waited_for(port: int, path: str, wanted: Callable[[Answer], bool]) -> Answer:
    """The first answer that is the wanted one."""
    return first_answer(lambda: asked(port, path), wanted)
