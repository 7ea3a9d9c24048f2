"""A failure after an answer has begun is logged within its request, and nothing of it leaves with the exception."""

import json

from tests.support.processes.log_lines import FIELDS, lines

BROKEN_ANSWER = """
    from unittest.mock import AsyncMock
    from api.metrics import Metrics
    from api.observed import AnswerBrokeError, Observed
    from api.traced import Traced

    async def app(scope, receive, send):
        redact("Zoe Mueller")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("of Zoe Mueller")

    async def main():
        scope = {"type": "http", "method": "GET", "path": "/orders/1", "scheme": "http", "headers": []}
        await Traced(Observed(app, Metrics()))(scope, AsyncMock(), AsyncMock())

    try:
        asyncio.run(main())
    except AnswerBrokeError:
        theirs.exception("in the application")
"""


def test_a_failure_within_an_answer_is_logged_as_the_requests_and_without_private_values() -> None:
    ours, servers = lines(BROKEN_ANSWER)
    assert (ours["event"], ours.keys() >= FIELDS) == ("answer_broke", True)
    assert "RuntimeError: of ***" in ours["exception"]
    assert "AnswerBrokeError" in servers["exception"]
    assert "RuntimeError" not in servers["exception"]
    assert "Zoe" not in json.dumps([ours, servers])
