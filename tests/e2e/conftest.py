"""What holds for every test of a whole system: the time that it has."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Any test here may be the one that waits for a system's start, which takes a busy machine a minute."""
    item.add_marker(pytest.mark.timeout(400))
