"""Accounts with keys, and a server that they may reach."""

import pytest
from people import People, reachable


@pytest.fixture
def people(tmp_path, monkeypatch):
    return People(tmp_path, monkeypatch)


@pytest.fixture
def served(people):
    with reachable(people) as served:
        yield served
