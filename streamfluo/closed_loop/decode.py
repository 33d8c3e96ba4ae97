"""Decoding: from the activity of cells to a signal of behaviour, learned and tested while frames come."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import scipy.linalg
from msgspec import Meta

from ..core.block import Block
from ..core.errors import FrameError
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_int
from ..core.step_values import IDS, PRESENT
from .activity import SeenIds, restored
from .earlier_decoder import EarlierDecoder, decoders_of_file, earlier_decoder
from .merges import Merge, merges
from .recent_r2 import RecentR2

MAX_COLUMNS = 64
NEARLY_SINGULAR = 1e-6  # smallest by largest element of the factor's diagonal; its square is about 1 / condition


class DecodeParams(Params, frozen=True):
    """Raises ValueError for `train_frames = 0` without the weights of an earlier session."""

    ridge: Annotated[
        float, Meta(ge=0, description="penalty on the squares of the weights; raise it for many cells")
    ] = 1.0
    solve_frames: Annotated[int, Meta(ge=1, description="weights are learned anew each so many frames")] = 50
    r2_frames: Annotated[
        int, Meta(ge=10, description="r² is of about so many of the last frames: older ones fade exponentially")
    ] = 1800
    train_frames: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="learn from so many frames and then no more; none: always; 0: keep the weights begun with"),
    ] = None
    weights: Annotated[
        Any, Meta(description="an earlier session: begins with what its decode had learned, and learns on from there")
    ] = None
    weights_step: Annotated[str | None, Meta(description="which decode of that session, where it has several")] = None
    cells: Annotated[
        Literal["same"] | tuple[tuple[int, int], ...] | None,
        Meta(
            description='which cells of that session these are: "same" ids, or pairs [earlier id, id here]; none: '
            "extract began from it, and keeps its ids"
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.train_frames == 0 and self.weights is None:
            raise ValueError("train_frames = 0 needs weights of an earlier session: nothing is learned here")


@register("decode")
class Decode(Operator):
    """Predicts a signal from the activity of cells by ridge regression, with weights learned from earlier frames.

    min Σ |y − b − W x|² + ridge · |W|² over all frames so far with a known target (Hoerl & Kennard 1970), the intercept
    not penalised, from sums of products: the solution is that of the batch, not an approximation of it. Each frame is
    predicted before it is learned from: `r2` is that of recent frames which the weights had not seen. A cell counts as
    0 before its birth. With `weights` the sums begin with those of an earlier session, as if its frames came before
    these; of its cells those count that are there, and nothing is predicted before one is. Activity of a cell that is
    merged into another one is added to that one's, as if they had always been one. Cost: K² multiplications a frame for
    K cells, and each `solve_frames` a solution, K³ / 3; state: (K + 1)² numbers.
    """

    Params = DecodeParams
    version = 3  # a cell that is merged into another one counts for that one
    needs = ("traces", "value")
    from_file = {"weights": decoders_of_file}
    gives = (
        Gives("predicted", "per_frame", ("t", "column"), "", "the signal, by weights from earlier frames, else NaN"),
        Gives("r2", "snapshot", ("column",), "", "1 − squared error over that of the mean, before learning"),
        Gives("weights", "snapshot", ("id", "column"), "", "weight of each cell, in the order of `ids`"),
        Gives("ids", "snapshot", ("id",), "", "the cells that the weights are of"),
        Gives("intercept", "snapshot", ("column",), "", "prediction where no cell is active"),
        Gives("frames", "snapshot", (), "", "number of frames learned from, with those of the session begun with"),
        Gives("products", "snapshot", ("term", "term"), "", "Σ z zᵀ of z = (1, cells), for a later session"),
        Gives("targets", "snapshot", ("term", "column"), "", "Σ z yᵀ, for a later session"),
    )
    examples = (
        {"solve_frames": 16, "train_frames": 90},
        {"solve_frames": 16, "train_frames": 30, "cells": [[31, 9], [32, 2], [34, 11]], "weights": {
            "ids": [31, 32, 33, 34],
            "products": [[9, 4, 3, 1, 2], [4, 5, 1, 0, 1], [3, 1, 4, 1, 0], [1, 0, 1, 3, 1], [2, 1, 0, 1, 6]],
            "targets": [[12, 9], [7, 3], [4, 4], [2, 1], [3, 5]]}},
    )  # fmt: skip

    def __init__(self, params: DecodeParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._earlier = earlier_decoder(params.weights, params.weights_step, params.cells)
        self._next_index = self._learned = 0
        self._notes: list[tuple[int, str]] = []
        self._begin(0 if self._earlier is None else self._earlier.targets.shape[1])

    def meet(self, given: Mapping[str, Gives]) -> None:
        if self._earlier is not None:
            self._earlier.check_activity(given["traces"], self.params.cells)

    def _begin(self, columns: int) -> None:
        """The target has so many columns: begin with what an earlier session had learned, or with nothing."""
        earlier = self._earlier
        self._seen = SeenIds() if earlier is None else SeenIds(earlier.ids, np.zeros(len(earlier.ids), bool))
        self._products = np.zeros((1, 1)) if earlier is None else earlier.products.copy()  # Σ z zᵀ of z = (1, x)
        self._targets = np.zeros((1, columns)) if earlier is None else earlier.targets.copy()  # Σ z yᵀ
        self._weights: np.ndarray = np.zeros((len(self._products), columns))
        self._solved = self._met = 0  # whether there are weights; of an earlier session's cells those that are here
        mean = None if earlier is None else self._targets[0] / self._products[0, 0]
        self._r2 = RecentR2(columns, self.params.r2_frames, mean)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        target = np.asarray(inputs["value"], float).reshape(len(block), -1)[:, :MAX_COLUMNS]
        if target.shape[1] != self._r2.columns:
            if self._earlier is not None:
                found = f"{self._r2.columns} numbers a frame, the value here has {target.shape[1]}"
                raise FrameError(f"weights: those of {self._earlier.where} predict {found}")
            self._begin(target.shape[1])
        traces, ids = np.asarray(inputs["traces"], float), np.asarray(inputs[f"traces.{IDS}"])
        there = np.asarray(inputs[key], bool) if (key := f"traces.{PRESENT}") in inputs else None
        merged = deque(merges(inputs, "traces"))
        predicted = np.full(target.shape, np.nan)
        for n, y in enumerate(target):
            while merged and merged[0].frame < block.index + n:
                self._merge(merged.popleft())
            x = self._seen.row(traces[n], ids, None if there is None else there[n])
            self._grow(len(x))
            if self._earlier is not None and self._seen.here[: len(self._earlier.ids)].sum() > self._met:
                self._meet_cells(self._earlier)
            predicted[n] = self._frame(np.concatenate(([1.0], x)), y)
            self._next_index = block.index + n + 1
            if self._next_index % self.params.solve_frames == 0:
                self._solve()
        for merge in merged:  # from the frame behind these on
            self._merge(merge)
        return Output(block.index, {"predicted": predicted})

    def notes(self) -> list[tuple[int, str]]:
        told, self._notes = self._notes, []
        return told

    def _frame(self, z: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Predict a frame, then learn from it."""
        predicted: np.ndarray = z @ self._weights if self._solved else np.full(len(y), np.nan)
        if not (np.isfinite(z).all() and np.isfinite(y).all()):
            return predicted
        self._r2.add(predicted, y)
        limit = self.params.train_frames
        if (limit is None or self._learned < limit) and (self._earlier is None or self._met):
            self._products += z[:, None] * z
            self._targets += z[:, None] * y
            self._learned += 1
        return predicted

    def _merge(self, merge: Merge) -> None:
        """Two cells are one: their activity so far is added up, and its weight is what predicts most alike."""
        if merge.id not in self._seen.ids:
            return
        gone, into = self._seen.columns(np.array([merge.id, merge.into])) + 1
        self._grow(len(self._seen.ids))
        self._seen.here[into - 1] |= self._seen.here[gone - 1]
        products, weights = self._products, self._weights
        share = products[gone, gone] + products[gone, into], products[into, into] + products[gone, into]
        if sum(share) > 0:
            weights[into] = (share[0] * weights[gone] + share[1] * weights[into]) / sum(share)
        for sums in (products, products.T, self._targets):
            sums[into] += sums[gone]
            sums[gone] = 0
        weights[gone] = 0
        self._notes.append((merge.frame, f"{merge.id} is merged into {merge.into}, which takes over what it taught"))

    def _meet_cells(self, earlier: EarlierDecoder) -> None:
        """Of an earlier session's cells those that come count from then on."""
        self._met = int(self._seen.here[: len(earlier.ids)].sum())
        self._solve()

    def _grow(self, count: int) -> None:
        more = count + 1 - len(self._products)
        if more > 0:
            self._products = np.pad(self._products, ((0, more), (0, more)))
            self._targets = np.pad(self._targets, ((0, more), (0, 0)))
            self._weights = np.pad(self._weights, ((0, more), (0, 0)))

    def _solve(self) -> None:
        """Weights of the cells that are here; one that was never active has the weight 0."""
        if self._products[0, 0] < 2 or (self._earlier is not None and not self._met):
            return
        used = np.concatenate(([True], self._seen.here)) & (self._products.diagonal() > 0)
        penalised = self._products[np.ix_(used, used)]
        penalised[np.arange(1, len(penalised)), np.arange(1, len(penalised))] += self.params.ridge
        self._weights = np.zeros(self._targets.shape)
        self._weights[used] = _solution(penalised, self._targets[used])
        self._solved = 1

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        weights = self._weights.copy() if self._solved else np.full(self._weights.shape, np.nan)
        found = {
            "r2": self._r2.value(), "weights": weights[1:], "ids": self._seen.ids.copy(), "intercept": weights[0],
            "frames": np.array(int(self._products[0, 0])),
            "products": self._products.copy(), "targets": self._targets.copy(),
        }  # fmt: skip
        return {name: found[name] for name in self.snapshot_names(names)}

    def state(self) -> State:
        return {
            "next_index": self._next_index, "learned": self._learned, "columns": self._r2.columns,
            "solved": self._solved,
            "ids": self._seen.ids.copy(), "here": self._seen.here.copy(),
            "products": self._products.copy(), "targets": self._targets.copy(), "weights": self._weights.copy(),
            **self._r2.state(),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        columns = require_int(state, "columns", "decode")
        self._r2 = RecentR2(columns, self.params.r2_frames, self._r2.mean if columns == self._r2.columns else None)
        self._r2.restore(state, "decode")
        ids = restored(state, "ids", (-1,), "decode", np.int64)
        self._seen = SeenIds(ids, restored(state, "here", ids.shape, "decode", np.bool_))
        size = len(self._seen.ids) + 1
        self._products = restored(state, "products", (size, size), "decode")
        self._targets = restored(state, "targets", (size, columns), "decode")
        self._weights = restored(state, "weights", (size, columns), "decode")
        self._met = 0 if self._earlier is None else int(self._seen.here[: len(self._earlier.ids)].sum())
        self._next_index, self._learned, self._solved = (
            require_int(state, name, "decode") for name in ("next_index", "learned", "solved")
        )


def _solution(products: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve normal equations by Cholesky's factors (K³ / 3), and where they are nearly singular by least squares."""
    found: np.ndarray
    try:
        factor = scipy.linalg.cho_factor(products, lower=True, check_finite=False)
        diagonal = factor[0].diagonal()
        if diagonal.min() < NEARLY_SINGULAR * diagonal.max():
            raise scipy.linalg.LinAlgError
        found = scipy.linalg.cho_solve(factor, targets, check_finite=False)
    except scipy.linalg.LinAlgError:
        found = np.linalg.lstsq(products, targets, rcond=None)[0]
    return found
