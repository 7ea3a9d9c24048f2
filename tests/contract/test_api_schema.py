"""The API keeps to its own OpenAPI document, whatever a client that reads the document sends."""

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok

from tests.api_process import api_process

EXAMPLES = 12  # of each kind for each operation
OPERATIONS = {"POST /orders", "GET /orders", "GET /orders/{order_id}", "GET /orders/{order_id}/invoice.pdf"} | {
    "GET /healthz",
    "GET /readyz",
}


def test_every_answer_is_one_that_the_document_describes(database_url: str, tmp_path: Path) -> None:
    load_all_checks()
    with api_process(database_url, tmp_path) as api:
        schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        assert {operation.label for operation in operations} == OPERATIONS
        for operation in operations:
            for mode in GenerationMode:
                check(operation, mode)


def check(operation: schemathesis.APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate()

    run()
