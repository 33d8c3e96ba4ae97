"""Tuning: mean response of each cell to each stimulus, while frames come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State
from ..core.step_values import IDS
from .activity import SeenIds, restored


class TuningParams(Params, frozen=True):
    """Parameters of `tuning`."""

    labels: Annotated[int, Meta(ge=1, le=4096, description="how many stimuli there are: labels 0, 1, …")] = 2


@register("tuning")
class Tuning(Mergeable):
    """Mean response of each cell to each stimulus, over the frames with its label, and its standard error.

    The error is that of independent frames: of a slow indicator, whose frames are not, multiply it by the root of the
    frames in two of its decay times. Left out are frames without a label, values that are NaN, and zeros before a first
    value, whose number depends on the block that the cell was born in. State: four sums for each cell and stimulus.
    """

    Params = TuningParams
    version = 2  # snapshots in the order of ids
    needs = ("traces", "label")
    gives = (
        Gives("mean", "snapshot", ("id", "label"), "", "mean response, in the order of `ids`; NaN without a frame"),
        Gives("error", "snapshot", ("id", "label"), "", "its standard error, of independent frames"),
        Gives("frames", "snapshot", ("id", "label"), "", "number of frames in it"),
        Gives("ids", "snapshot", ("id",), "", "the cells"),
    )
    examples = ({"labels": 4},)

    def __init__(self, params: TuningParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._seen = SeenIds()
        self._sums = np.zeros((3, 0, params.labels))  # frames, Σ x, Σ x² by cell and label
        self._zeros = np.zeros((0, params.labels))  # frames before its first value
        self._born = np.zeros(0, bool)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        columns = self._seen.columns(np.asarray(inputs[f"traces.{IDS}"]))
        self._grow()
        values, labels = np.asarray(inputs["traces"], float), np.asarray(inputs["label"], float)
        for row, label in zip(values, labels, strict=True):
            self._take(columns, row, int(label) if label in range(self.params.labels) else None)
        return Output(block.index)

    def _take(self, columns: np.ndarray, row: np.ndarray, label: int | None) -> None:
        known = np.isfinite(row)
        at, x = columns[known], row[known]
        born = self._born[at] | (x != 0)
        self._born[at] = born
        if label is not None:
            self._sums[:, at[born], label] += np.array([np.ones(born.sum()), x[born], x[born] ** 2])
            self._zeros[at[~born], label] += 1

    def _grow(self) -> None:
        more = len(self._seen.ids) - len(self._zeros)
        if more:
            self._sums = np.pad(self._sums, ((0, 0), (0, more), (0, 0)))
            self._zeros, self._born = np.pad(self._zeros, ((0, more), (0, 0))), np.pad(self._born, (0, more))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        frames, total, squares = self._sums
        with np.errstate(all="ignore"):
            mean = total / frames
            variance = np.maximum(0, squares - frames * mean**2) / (frames - 1)
            error = np.where(frames > 1, np.sqrt(variance / frames), np.nan)
        found = {"mean": mean, "error": error, "frames": frames, "ids": self._seen.ids}
        order = np.argsort(self._seen.ids)  # that of their columns depends on blocks
        return {name: found[name][order] for name in self.snapshot_names(names)}

    def merge(self, other: Self) -> None:
        columns = self._seen.columns(other._seen.ids)
        self._grow()
        going_on = self._born[columns, None]  # zeros of the later part are responses of a cell that had values before
        self._sums[:, columns] += other._sums
        self._sums[0, columns] += np.where(going_on, other._zeros, 0)
        self._zeros[columns] += np.where(going_on, 0, other._zeros)
        self._born[columns] |= other._born

    def state(self) -> State:
        return {
            "ids": self._seen.ids.copy(), "born": self._born.copy(),
            "sums": self._sums.copy(), "zeros": self._zeros.copy(),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        self._seen = SeenIds(restored(state, "ids", (-1,), "tuning", np.int64))
        cells, labels = len(self._seen.ids), self.params.labels
        self._sums = restored(state, "sums", (3, cells, labels), "tuning")
        self._zeros = restored(state, "zeros", (cells, labels), "tuning")
        self._born = restored(state, "born", (cells,), "tuning", np.bool_)
