"""What a batch program of SOFI gave for its own movies, and the same movies through `sofi`."""

import os
from pathlib import Path

import numpy as np
import pytest

from streamfluo import Block, Spec, create

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))


def reference(name):
    """Arrays of the batch program; skips where they are absent."""
    path = DATA / "reference_outputs" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return np.load(path)


def error(found, expected):
    """The largest error, relative to the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def through_sofi(movie, first=0, spec=None, **params):
    """Snapshots of `sofi` after a whole movie (t, y, x)."""
    operator = create("sofi", spec or Spec(movie.shape[1:], movie.dtype), **params)
    for start in range(0, len(movie), 32):
        frames = movie[start : start + 32]
        operator.update(Block(first + start, np.zeros(len(frames)), frames))
    return operator.read()
