"""`waybill worker POOL` in which one order is poison: the step that gets hold of it kills its own process.

Run as `python -m tests.support.processes.poisoned_worker worker POOL`; POISON holds the order's id. With BREAKS, an
order's id too, no step's runner can even write down that this one failed, and the error has its customer's name.
"""

import os
import signal
from typing import Any

from consumers.delivery.pipeline import StepRunner
from consumers.delivery.result import DeliveryResult
from consumers.steps.load import step_class
from ops.cli.main import main
from orders.workflow import BY_NAME
from outbox.envelope import Event
from runtime.log_context import redact

BODIES = {"validate_order": "apply", "send_confirmation_email": "perform"}


def poison(step: str, body: str) -> None:
    """Make one step's body deadly for one order."""
    code = step_class(BY_NAME[step])
    whole = getattr(code, body)

    async def deadly(*arguments: Any) -> Any:
        if any(os.environ["POISON"] in str(argument) for argument in arguments[1:]):
            os.kill(os.getpid(), signal.SIGKILL)
        return await whole(*arguments)

    setattr(code, body, deadly)


def break_runner() -> None:
    """Have what is private escape from the runner of a step."""
    whole = StepRunner.deliver

    async def deliver(self: StepRunner, event: Event, *, redelivered: bool = False) -> DeliveryResult:
        if event.subject == os.environ.get("BREAKS"):
            redact("Zoe Mueller")
            raise RuntimeError("not written: it was for Zoe Mueller")
        return await whole(self, event, redelivered=redelivered)

    StepRunner.deliver = deliver  # type: ignore[method-assign]


if __name__ == "__main__":
    for name, work in BODIES.items():
        poison(name, work)
    break_runner()
    main()
