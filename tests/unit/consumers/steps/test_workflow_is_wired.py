"""The table of steps and the code that reacts name the same steps."""

from consumers.steps import REACTIONS
from orders.workflow import BY_NAME


def test_every_step_of_the_workflow_has_a_reaction_and_no_reaction_is_without_a_step() -> None:
    assert set(REACTIONS) == set(BY_NAME)
