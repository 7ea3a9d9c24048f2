"""These tests share a database per module: a copy for each takes longer than most of them."""

import pytest


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    """The module's database, empty."""
    return shared_database_url
