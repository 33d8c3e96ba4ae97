"""Sessions that tests of the catalogue share: made once, copied by each."""

import numpy as np
import pytest
from commands import command

FRAMES = 64


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A session of a simulated camera: raw frames, their moments; `brighter` and `same` are others beside it."""
    folder = tmp_path_factory.mktemp("recorded")
    uri = f"sim:gain?frames={FRAMES}&shape=24x32&seed=3"
    (folder / "chain.toml").write_text('[record]\nraw = true\n[[step]]\nkind = "moments"\n')
    for name, source in (("first", uri), ("same", uri), ("other", uri.replace("seed=3", "seed=4"))):
        done = command("run", "chain.toml", "--source", source, "--out", name, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def first(recorded):
    return recorded / "first"


@pytest.fixture
def noise():
    return np.random.default_rng(7)
