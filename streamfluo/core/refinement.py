"""A recording that is gone through again after its run: what an operator is handed for that, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .loaded import RecordedStep
from .operator import Operator, Output
from .spec import Spec

SeenFrame = tuple[int, np.ndarray | None]  # index and frame (y, x), None for one that is not valid


@dataclass(frozen=True)
class Recording:
    """What a recorded step saw: `count` frames of a `spec`, its parameters as they were stated, and what it left.

    `frames(name)` begins a pass of that name and yields the frames in order, each until the next one is asked for.
    """

    step: RecordedStep
    spec: Spec
    params: Mapping[str, Any]
    count: int
    frames: Callable[[str], Iterator[SeenFrame]]


class Refined(NamedTuple):
    """What a recorded step gives after it has seen all frames: its values in order, snapshots, and a sentence.

    `operator` declares them.
    `held_bytes`: the largest arrays that were held at a time, those of `per_frame_bytes` grow with each frame.
    """

    operator: Operator
    values: Iterator[Output]
    snapshots: Mapping[str, np.ndarray]
    said: str
    held_bytes: int
    per_frame_bytes: int
