"""The relay's gauges are the process's: what a test has set must not be seen by those that come after it."""

from collections.abc import Iterator

import pytest

from relay.health import metrics


@pytest.fixture(autouse=True)
def gauges_reset() -> Iterator[None]:
    """Each test leaves the gauges as a relay that does not lead has them."""
    yield
    metrics.not_leading()
