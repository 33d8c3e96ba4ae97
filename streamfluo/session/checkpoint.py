"""Checkpoints: the state of a running chain on disk, so that a run that was killed goes on where it stood.

One .npz, written aside, synced and renamed: the arrays of every step's state as `STEP/name`, everything else in
`manifest`, JSON as bytes. No pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from ..core.stored_arrays import NOT_AN_ARRAY, stored_arrays
from .files import save_arrays

FORMAT = 1

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _SavedStep(msgspec.Struct, frozen=True):
    kind: str
    version: int
    params: dict[str, Any]
    next_index: _Count | None
    muted: str | None
    state: dict[str, int | float | str]
    after: str | None = None
    inputs: dict[str, str] | None = None
    live: dict[str, Any] | None = None


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    series_uid: str
    next_index: _Count
    frames: _Count
    steps: dict[str, _SavedStep]
    values_nbytes: dict[str, _Count]
    reached: dict[str, _Count] = {}


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood: the next frame's index, frames processed, bytes of values written, the chain's state.

    Of several planes `reached` has the next frame's index of each, and `next_index` is the lowest of them.
    """

    series_uid: str
    next_index: int
    frames: int
    steps: Mapping[str, Mapping[str, Any]]
    values_nbytes: Mapping[str, int]
    reached: Mapping[str, int] = field(default_factory=dict)

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
        with stored_arrays(path, packed=False) as stored:
            manifest = msgspec.convert(json.loads(stored.read("manifest").tobytes()), _Manifest)
            if manifest.format != FORMAT or not manifest.values_nbytes.keys() <= manifest.steps.keys():
                return None
            steps = {step: msgspec.structs.asdict(saved) for step, saved in manifest.steps.items()}
            for name in stored.names:
                if (step := next((s for s in steps if name.startswith(f"{s}/")), None)) is not None:
                    steps[step]["state"][name.removeprefix(f"{step}/")] = stored.read(name)
    except (*NOT_AN_ARRAY, msgspec.ValidationError):
        return None
    return Checkpoint(
        manifest.series_uid, manifest.next_index, manifest.frames, steps, manifest.values_nbytes, manifest.reached
    )
