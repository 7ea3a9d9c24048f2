"""The API keeps to its own OpenAPI document for any request that the document allows or forbids."""

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.builders.in_process_api import order_body
from tests.support.processes.api import api_process

# Not asked: that all data of the document's schemas is accepted. JSON Schema takes 5.0 for an integer and has no word
# for "not only blanks" or for a deliverable address; the API is stricter there, and its tests say where.

EXAMPLES = 12  # of each kind for each operation
WITHOUT_INPUT = {"GET /healthz", "GET /readyz"}  # a client can make no error there
OPERATIONS = {
    "POST /orders",
    "GET /orders",
    "GET /orders/{order_id}",
    "GET /orders/{order_id}/timeline",
    "GET /orders/{order_id}/invoice.pdf",
}


def test_every_answer_is_one_that_the_document_describes(database_url: str, tmp_path: Path) -> None:
    load_all_checks()
    with api_process(database_url, tmp_path) as api:
        schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        assert {operation.label for operation in operations} == OPERATIONS | WITHOUT_INPUT
        for operation in operations:
            check(operation, GenerationMode.POSITIVE)
            if operation.label not in WITHOUT_INPUT:
                check(operation, GenerationMode.NEGATIVE)


def test_the_way_of_an_order_is_answered_as_the_document_says(database_url: str, tmp_path: Path) -> None:
    load_all_checks()
    with api_process(database_url, tmp_path) as api:
        schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
        place = schema["/orders"]["POST"].Case(body=order_body(), media_type="application/json")

        placed = place.call_and_validate()
        known = {"order_id": placed.json()["order_id"]}
        read = schema["/orders/{order_id}"]["GET"].Case(path_parameters=known).call_and_validate()
        followed = schema["/orders/{order_id}/timeline"]["GET"].Case(path_parameters=known).call_and_validate()
        listed = schema["/orders"]["GET"].Case(query={"limit": 1}).call_and_validate()
        again = place.call_and_validate(excluded_checks=[positive_data_acceptance])

    answers = (placed, read, followed, listed, again)
    assert [answer.status_code for answer in answers] == [202, 200, 200, 200, 409]


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
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    run()
