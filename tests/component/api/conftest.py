"""These tests share a database per module: a copy for each takes longer than most of them."""

import pytest

from tests.support.fixtures.shared_database import module_database, shared_database_url

__all__ = ["module_database", "shared_database_url"]


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    """The module's database, empty."""
    return shared_database_url
