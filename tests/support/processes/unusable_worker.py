"""`waybill worker POOL` whose children cannot open their loop for as long as there is a file, at BROKEN.

Run as `python -m tests.support.processes.unusable_worker worker POOL`.
"""

import errno
import os
from pathlib import Path

from consumers.worker import child
from consumers.worker.child import EventLoop
from ops.cli.main import main


class Unopened(EventLoop):
    """A loop for which there are no file descriptors left, as long as that file is there."""

    def __init__(self) -> None:
        if Path(os.environ["BROKEN"]).exists():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        super().__init__()


if __name__ == "__main__":
    child.EventLoop = Unopened  # type: ignore[misc]
    main()
