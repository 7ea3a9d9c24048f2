"""`waybill worker POOL` in which one order is poison: the step that gets hold of it kills its own process.

Run as `python -m tests.integration.consumers.poisoned_worker worker POOL`; POISON holds the order's id.
"""

import os
import signal
from typing import Any

from consumers.steps import REACTIONS
from ops.cli import main

BODIES = {"validate_order": "apply", "send_confirmation_email": "perform"}


def poison(step: str, body: str) -> None:
    """Make one step's body deadly for one order."""
    reaction = REACTIONS[step]
    whole = getattr(reaction, body)

    async def deadly(*arguments: Any) -> Any:
        if any(os.environ["POISON"] in str(argument) for argument in arguments[1:]):
            os.kill(os.getpid(), signal.SIGKILL)
        return await whole(*arguments)

    setattr(reaction, body, deadly)


if __name__ == "__main__":
    for name, work in BODIES.items():
        poison(name, work)
    main()
