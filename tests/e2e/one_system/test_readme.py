"""The README's session works as it is written."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.stack.local import LocalStack
from tests.support.paths import ROOT

README = ROOT / "README.md"


def session() -> list[str]:
    """The code blocks of the README that call curl, in order."""
    blocks = re.findall(r"^```\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "curl" in block]


def run(script: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-ec", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(printed: str) -> list[dict[str, Any]]:
    """JSON documents that stand one after the other."""
    found = []
    while printed.strip():
        document, end = json.JSONDecoder().raw_decode(printed.lstrip())
        found.append(document)
        printed = printed.lstrip()[end:]
    return found


def test_the_curl_session_works_as_written(
    stack: LocalStack, finished: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    post, read = session()
    here = f"API={stack.api_url}"
    assert "API=http://127.0.0.1:8080" in post
    post = post.replace("API=http://127.0.0.1:8080", here)

    accepted = run(post, tmp_path)
    assert accepted.startswith("HTTP/1.1 202 Accepted")
    location = re.search(r"^location: (\S+)", accepted, re.MULTILINE)
    assert location is not None
    shown, story = documents(run(f"{here}\n{read}", tmp_path))

    assert shown["invoice_number"]
    assert story["order_id"] == shown["order_id"]
    happened = {entry["what"] for entry in story["entries"]}
    assert happened >= {"accepted", "committed", "published", "confirmed", "attempt"}
    assert any((entry["worker"] or "").startswith("worker-sap@") for entry in story["entries"])
    assert finished(location[1])["order_id"] == shown["order_id"]
    assert (tmp_path / "invoice.pdf").read_bytes().startswith(b"%PDF-")
    assert run(post, tmp_path).startswith("HTTP/1.1 409 Conflict")
