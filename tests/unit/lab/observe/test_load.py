"""The POSTs that the API must refuse, and the mailbox that does not exist."""

import json

from lab.observe.load import invalid_bodies, unreachable_customer
from lab.workload.generator import generate

WORKLOAD = generate(12)


def test_no_invalid_body_is_a_new_order() -> None:
    taken = [one.order for one in WORKLOAD.orders[:2]]
    broken, nothing, empty, *again = invalid_bodies(taken)

    assert broken == b"{"
    assert json.loads(nothing)["lines"][0]["quantity"] == 0
    assert json.loads(empty)["lines"] == []
    assert [json.loads(body)["reference"] for body in again] == [order.reference for order in taken]


def test_the_mailbox_that_does_not_exist_is_that_of_an_order_that_completes() -> None:
    assert unreachable_customer(WORKLOAD) in {order.customer.email for order in WORKLOAD.completing}
