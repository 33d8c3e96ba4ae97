"""A session that tests of verification share, copied by each."""

import shutil

import pytest
from tampered import (
    run,
)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return run(tmp_path_factory.mktemp("made") / "s")


@pytest.fixture
def session(made, tmp_path):
    shutil.copytree(made, tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture
def sampled(monkeypatch):
    """As of a long run: only its first 16 frames and those behind the last checkpoint are recomputed."""
    monkeypatch.setattr("streamfluo.verify.recomputed.HEAD_FRAMES", 16)
    monkeypatch.setattr("streamfluo.verify.recomputed.SHORT_S", 0.0)
