"""Decoding: from the activity of cells to a signal of behaviour, learned and tested while frames come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_int
from ..core.step_values import IDS
from .activity import SeenIds, restored

MAX_COLUMNS = 64


class DecodeParams(Params, frozen=True):
    """Parameters of `decode`."""

    ridge: Annotated[
        float, Meta(ge=0, description="penalty on the squares of the weights; raise it for many cells")
    ] = 1.0
    solve_frames: Annotated[int, Meta(ge=1, description="weights are learned anew each so many frames")] = 50
    r2_frames: Annotated[
        int, Meta(ge=10, description="r² is of about so many of the last frames: older ones fade exponentially")
    ] = 1800
    train_frames: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="learn from so many frames and then no more; none: always")
    ] = None


@register("decode")
class Decode(Operator):
    """Predicts a signal from the activity of cells by ridge regression, with weights learned from earlier frames.

    min Σ |y − b − W x|² + ridge · |W|² over all frames so far with a known target (Hoerl & Kennard 1970), the intercept
    not penalised, from sums of products: the solution is that of the batch, not an approximation of it. Each frame is
    predicted before it is learned from: `r2` is that of recent frames which the weights had not seen. A cell counts as
    0 before its birth. Cost: K² multiplications a frame for K cells, and each `solve_frames` a solution, K³; state:
    (K + 1)² numbers.
    """

    Params = DecodeParams
    needs = ("traces", "value")
    gives = (
        Gives("predicted", "per_frame", ("t", "column"), "", "the signal, by weights from earlier frames, else NaN"),
        Gives("r2", "snapshot", ("column",), "", "1 − squared error over that of the mean, before learning"),
        Gives("weights", "snapshot", ("id", "column"), "", "weight of each cell, in the order of `ids`"),
        Gives("ids", "snapshot", ("id",), "", "the cells that the weights are of"),
        Gives("intercept", "snapshot", ("column",), "", "prediction where no cell is active"),
        Gives("frames", "snapshot", (), "", "number of frames learned from"),
    )
    examples = ({"solve_frames": 16, "train_frames": 90},)

    def __init__(self, params: DecodeParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._seen = SeenIds()
        self._next_index, self._learned = 0, 0
        self._begin(0)

    def _begin(self, columns: int) -> None:
        """The target has so many columns: begin with nothing learned."""
        self._columns = columns
        self._products = np.zeros((1, 1))  # Σ z zᵀ of z = (1, x)
        self._targets = np.zeros((1, columns))  # Σ z yᵀ
        self._weights: np.ndarray = np.zeros((1, columns))
        self._solved = 0
        self._errors, self._spread = np.zeros((2, columns))  # of predictions: squared error, and that of the mean
        self._tested = 0

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        target = np.asarray(inputs["value"], float).reshape(len(block), -1)[:, :MAX_COLUMNS]
        if target.shape[1] != self._columns:
            self._begin(target.shape[1])
        rows = self._seen.rows(inputs["traces"], inputs[f"traces.{IDS}"])
        self._grow(len(self._seen.ids))
        predicted = np.full(target.shape, np.nan)
        for n, (x, y) in enumerate(zip(rows, target, strict=True)):
            predicted[n] = self._frame(np.concatenate(([1.0], x)), y)
            self._next_index = block.index + n + 1
            if self._next_index % self.params.solve_frames == 0:
                self._solve()
        return Output(block.index, {"predicted": predicted})

    def _frame(self, z: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Predict a frame, then learn from it."""
        predicted: np.ndarray = z @ self._weights if self._solved else np.full(self._columns, np.nan)
        known = np.isfinite(z).all() and np.isfinite(y).all()
        if known and np.isfinite(predicted).all():
            mean = self._targets[0] / self._products[0, 0]
            kept = 1 - 1 / self.params.r2_frames
            self._errors = kept * self._errors + (y - predicted) ** 2
            self._spread = kept * self._spread + (y - mean) ** 2
            self._tested += 1
        limit = self.params.train_frames
        if known and (limit is None or self._learned < limit):
            self._products += z[:, None] * z
            self._targets += z[:, None] * y
            self._learned += 1
        return predicted

    def _grow(self, count: int) -> None:
        more = count + 1 - len(self._products)
        if more > 0:
            self._products = np.pad(self._products, ((0, more), (0, more)))
            self._targets = np.pad(self._targets, ((0, more), (0, 0)))
            self._weights = np.pad(self._weights, ((0, more), (0, 0)))

    def _solve(self) -> None:
        if self._learned < 2:
            return
        penalty = np.full(len(self._products), self.params.ridge)
        penalty[0] = 0.0
        penalty[self._products.diagonal() == 0] = 1.0  # a cell that was never active has the weight 0
        self._weights = np.linalg.lstsq(self._products + np.diag(penalty), self._targets, rcond=None)[0]
        self._solved = 1

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        with np.errstate(all="ignore"):
            r2 = np.where(self._tested > 1, 1 - self._errors / self._spread, np.nan)
        weights = self._weights.copy() if self._solved else np.full(self._weights.shape, np.nan)
        found = {
            "r2": r2, "weights": weights[1:], "ids": self._seen.ids.copy(), "intercept": weights[0],
            "frames": np.array(self._learned),
        }  # fmt: skip
        return {name: found[name] for name in self.snapshot_names(names)}

    def state(self) -> State:
        return {
            "next_index": self._next_index, "learned": self._learned, "tested": self._tested, "columns": self._columns,
            "solved": self._solved,
            "ids": self._seen.ids.copy(), "products": self._products.copy(), "targets": self._targets.copy(),
            "weights": self._weights.copy(), "errors": self._errors.copy(), "spread": self._spread.copy(),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        self._begin(require_int(state, "columns", "decode"))
        self._seen = SeenIds(restored(state, "ids", (-1,), "decode", np.int64))
        size = len(self._seen.ids) + 1
        self._products = restored(state, "products", (size, size), "decode")
        self._targets = restored(state, "targets", (size, self._columns), "decode")
        self._weights = restored(state, "weights", (size, self._columns), "decode")
        self._errors = restored(state, "errors", (self._columns,), "decode")
        self._spread = restored(state, "spread", (self._columns,), "decode")
        self._next_index, self._learned, self._tested, self._solved = (
            require_int(state, name, "decode") for name in ("next_index", "learned", "tested", "solved")
        )
