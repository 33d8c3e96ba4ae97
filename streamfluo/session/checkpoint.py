"""Checkpoints: the state of a running chain on disk, so that a run that was killed goes on where it stood.

One .npz, written aside, synced and renamed: the arrays of every step's state as `STEP/name`, everything else in
`manifest`, JSON as bytes. No pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .files import save_arrays
from .schema import NOT_AN_ARRAY

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood: the next frame's index, frames processed, bytes of values written, the chain's state."""

    series_uid: str
    next_index: int
    frames: int
    steps: Mapping[str, Mapping[str, Any]]
    values_nbytes: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(a.nbytes for s in self.steps.values() for a in s["state"].values() if isinstance(a, np.ndarray))

    def save(self, path: Path, keep: Path | None = None) -> None:
        """Put it in place whole; the one that was there is kept as `keep`. Raises OSError."""
        arrays: dict[str, np.ndarray] = {}
        steps: dict[str, Any] = {}
        for step, saved in self.steps.items():
            state = saved["state"]
            arrays |= {f"{step}/{name}": value for name, value in state.items() if isinstance(value, np.ndarray)}
            steps[step] = {**saved, "state": {n: v for n, v in state.items() if not isinstance(v, np.ndarray)}}
        manifest = json.dumps({**asdict(self), "steps": steps, "format": FORMAT}).encode()
        save_arrays(path, {"manifest": np.frombuffer(manifest, np.uint8), **arrays}, keep)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at `path`, None if there is none that can be used: a run can always begin anew."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as z:
            manifest = json.loads(z["manifest"].tobytes())
            if manifest.pop("format") != FORMAT:
                return None
            for name in z.files:
                step, slash, part = name.partition("/")
                if slash:
                    manifest["steps"][step]["state"][part] = z[name]
        return Checkpoint(**manifest)
    except (*NOT_AN_ARRAY, AttributeError):
        return None
