"""What a config names by a file, once it is loaded; and a step of a session, as those see it who read its results.

Operators open no files. Where a parameter may be the path of one, the operator's `from_file` names the function that
makes its value of what the file holds: (Loaded, spec) → value. `engine/loading.py` opens the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .errors import ConfigError, did_you_mean
from .plane import Plane


class SeenFrames(Protocol):
    """Shape (y, x), pixel size [µm] and origin [px] of the frames that a step sees, as in `Spec`."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def pixel_um(self) -> float | None: ...
    @property
    def origin_px(self) -> tuple[float, float]: ...


class RecordedStep(Protocol):
    """A step of a session: its id and kind, values by name, the frame index of their rows, the time of frames by index
    [s] (NaN: not known), snapshots, the session, the frames that it sees, the unit of what it gives, which `step.value`
    each of its needs was met by, and the unit of a `step.value`, None for one that is not there."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def index(self) -> np.ndarray: ...
    def times_s(self, index: np.ndarray) -> np.ndarray: ...
    @property
    def snapshot(self) -> Mapping[str, np.ndarray]: ...
    @property
    def folder(self) -> Path: ...
    @property
    def sees(self) -> SeenFrames: ...
    @property
    def units(self) -> Mapping[str, str]: ...
    @property
    def inputs(self) -> Mapping[str, str]: ...
    def unit_of(self, value: str) -> str | None: ...


class SliceSteps(NamedTuple):
    """What the slices of a channel hold of one step: recorded steps by plane, from the first slice on, their planes,
    and the step that stands once for all of them and was given their values, if the run had one."""

    steps: Mapping[str, RecordedStep]
    planes: tuple[Plane, ...]
    joined: RecordedStep | None


@dataclass(frozen=True)
class Loaded:
    """What a file holds, one of: an array (.npy), arrays by name (.npz), columns (.csv), the steps of a session.

    Columns have the names of the file's first line, numbers from 0 where it has none.
    """

    path: str
    array: np.ndarray | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    columns: Mapping[str, np.ndarray] | None = None
    steps: tuple[RecordedStep, ...] | None = None

    def step(self, kind: str) -> RecordedStep:
        """Return the session's first step of a kind. Raises ConfigError if it has none."""
        steps = self.steps or ()
        for step in steps:
            if step.kind == kind:
                return step
        raise ConfigError(
            f"{self.path}: no step of kind {kind!r} in it; there is {', '.join(s.id for s in steps) or 'none'}"
        )

    def expected(self, wanted: str) -> ConfigError:
        """Return the error for a file that holds something else than `wanted`."""
        kinds = {
            "an array": self.array,
            "arrays by name": self.arrays,
            "columns": self.columns,
            "a session": self.steps,
        }
        found = next((what for what, held in kinds.items() if held is not None), "a session")
        return ConfigError(f"{self.path} holds {found}; {wanted} is expected")


def plain_array(loaded: Loaded, spec: Any) -> np.ndarray:
    """Return the array that a file holds. Raises ConfigError for a file that holds something else."""
    if loaded.array is None:
        raise loaded.expected("an array (.npy)")
    return loaded.array


def values_by_index(step: RecordedStep, name: str) -> np.ndarray:
    """Return per-frame values of a step by frame index (index, …), NaN for frames missing.

    Raises ConfigError if the step gave none of that name.
    """
    values, index = step.values, step.index
    if name not in values:
        raise ConfigError(f"{step.folder}: step {step.id!r} gave no {name!r}{did_you_mean(name, values)}")
    by_index = np.full((int(index.max(initial=-1)) + 1, *values[name].shape[1:]), np.nan)
    by_index[index] = values[name]
    return by_index
