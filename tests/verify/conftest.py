"""A session that tests of verification share, copied by each."""

import shutil

import pytest
from tampered import (
    run,
)

from streamfluo.session.checkpoint import load_checkpoint


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A session whose last checkpoint lies within it: when one is taken is up to the clock."""
    for _ in range(9):
        folder = run(tmp_path_factory.mktemp("made") / "s")
        if 20 <= load_checkpoint(folder / "checkpoint.npz").next_index < 80:
            return folder
    return pytest.skip("this machine takes no checkpoint in the middle")


@pytest.fixture
def session(made, tmp_path):
    shutil.copytree(made, tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture
def sampled(monkeypatch):
    """As of a long run: only its first 16 frames and those behind the last checkpoint are recomputed."""
    monkeypatch.setattr("streamfluo.verify.recomputed.HEAD_FRAMES", 16)
    monkeypatch.setattr("streamfluo.verify.recomputed.SHORT_S", 0.0)
