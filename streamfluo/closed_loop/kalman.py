"""A Kalman decoder: a signal of behaviour that moves on by itself and shows in the activity of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.errors import StateError
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_int
from ..core.step_values import IDS, PRESENT
from .activity import SeenIds, restored
from .linear_gaussian import LEAST_VARIANCE, Filter, Model, Sums
from .recent_r2 import RecentR2

MAX_COLUMNS = 16
FACTORS = np.array([1.0, 1 / 16, 1 / 4, 4.0, 16.0])  # of the cells' noise, the model's own first
SD_FRAMES = 300  # that the standard deviation is by: the errors of a model of few frames are soon forgotten
AS_STATED = 20.0  # frames that count as if errors had been what the model says of them
MAX_GAP = 1000  # frames, after which nothing is left of what was known before


class KalmanParams(Params, frozen=True):
    """Parameters of `kalman`."""

    solve_frames: Annotated[
        int, Meta(ge=10, description="the model is learned anew each so many frames; a cell takes part after as many")
    ] = 50
    r2_frames: Annotated[
        int, Meta(ge=10, description="r² is of about so many of the last frames: older ones fade exponentially")
    ] = 1800
    train_frames: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="learn from so many frames and then no more; none: always")
    ] = None
    noise_factor: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="what the cells' noise is multiplied by; none: of 1/16 … 16 what erred least lately"),
    ] = None


@register("kalman")
class Kalman(Operator):
    """Predicts a signal from the activity of cells by a Kalman filter, with its standard deviation.

    The signal moves on as x = A x' + b with noise W, and each cell shows it as z = h · x + c with a noise Q of its own;
    A, W of all pairs of frames with a known signal so far, h, Q of each cell's frames since its birth, by regression
    (Wu et al. 2006, who take Q as a full matrix: with a noise of its own for each cell the filter in its information
    form costs K d² a frame, and no cell needs more frames than cells). That noise is white and a cell's own only in
    theory: what a transient tells lasts for frames, and cells err together. So it runs with Q times each of five
    factors and gives the one that erred least lately, chosen where the model is learned anew; and `sd` is the model's
    times what the errors of earlier frames were of it. Frames whose activity is not known are predicted by A alone, and
    frames that never came pass likewise. Each frame is predicted before it is learned from. Cost of 500 cells and two
    columns: 0.2 ms a frame, 1 ms where the model is learned anew; state: (d + 1)² numbers a cell.
    """

    Params = KalmanParams
    needs = ("traces", "value")
    gives = (
        Gives("predicted", "per_frame", ("t", "column"), "", "the signal, by a model of earlier frames, else NaN"),
        Gives("sd", "per_frame", ("t", "column"), "", "its standard deviation, by errors of earlier frames"),
        Gives("r2", "snapshot", ("column",), "", "1 − squared error over that of the mean, before learning"),
        Gives("error_by_sd", "snapshot", ("column",), "", "rms error by `sd` of the same frames, lately"),
        Gives("sd_factor", "snapshot", ("column",), "", "what the model's standard deviation is multiplied by"),
        Gives("noise_factor", "snapshot", (), "", "what the cells' noise is multiplied by"),
        Gives("transition", "snapshot", ("column", "column"), "", "A"),
        Gives("transition_noise", "snapshot", ("column", "column"), "", "W"),
        Gives("tuning", "snapshot", ("id", "column"), "", "h of each cell, in the order of `ids`"),
        Gives("noise", "snapshot", ("id",), "", "Q of each cell; infinite for those that take no part yet"),
        Gives("ids", "snapshot", ("id",), "", "the cells"),
        Gives("frames", "snapshot", (), "", "number of frames learned from"),
    )
    examples = ({"solve_frames": 16, "train_frames": 90}, {"noise_factor": 1.0})

    def __init__(self, params: KalmanParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._factors = FACTORS if params.noise_factor is None else np.array([params.noise_factor])
        self._next_index = self._learned = 0
        self._begin(0)

    def _begin(self, columns: int, seen: SeenIds | None = None) -> None:
        """The signal has so many columns: begin with nothing learned."""
        self._seen = SeenIds() if seen is None else seen
        self._sums = Sums(columns, len(self._seen.ids))
        self._model: Model | None = None
        self._filter: Filter | None = None
        self._r2 = RecentR2(columns, self.params.r2_frames)
        self._pivot = np.full(columns, np.nan)  # the first known signal: sums about 0 would lose digits
        self._before = np.full(columns, np.nan)  # the signal of the frame before, NaN where it is not known
        count = len(self._factors)
        self._mean, self._covariance = np.full((count, columns), np.nan), np.full((count, columns, columns), np.nan)
        self._squares, self._by_model = np.zeros((2, count, columns))  # Σ e² and Σ (e / the model's sd)² lately
        self._by_sd, self._weight, self._weight_of_model = np.zeros(columns), np.zeros(1), np.zeros(1)  # Σ (e / sd)²
        self._chosen = 0

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        signal = np.asarray(inputs["value"], float).reshape(len(block), -1)[:, :MAX_COLUMNS]
        if signal.shape[1] != self._r2.columns:
            self._begin(signal.shape[1])
        self._pass(block.index - self._next_index)
        traces, ids = np.asarray(inputs["traces"], float), np.asarray(inputs[f"traces.{IDS}"])
        there = np.asarray(inputs[key], bool) if (key := f"traces.{PRESENT}") in inputs else None
        predicted, sd = np.full((2, *signal.shape), np.nan)
        for n, y in enumerate(signal):
            z = self._seen.row(traces[n], ids, None if there is None else there[n])
            cells = self._seen.newest[np.isfinite(z[self._seen.newest])]
            self._sums.grow(len(z))
            by_factor, sd_by_factor = self._predict(cells, z[cells])
            predicted[n], sd[n] = by_factor[self._chosen], sd_by_factor[self._chosen] * self._sd_factor()
            if np.isfinite(y).all():
                self._compare(y, by_factor, sd_by_factor, sd[n])
                self._learn(y, cells, z[cells])
            else:
                self._before[:] = np.nan
            self._next_index = block.index + n + 1
            if self._next_index % self.params.solve_frames == 0:
                self._solve()
        return Output(block.index, {"predicted": predicted, "sd": sd})

    def _pass(self, count: int) -> None:
        """Frames that never came."""
        if count <= 0:
            return
        self._before[:] = np.nan
        if self._filter is not None and count > MAX_GAP:
            self._restart()
        elif self._filter is not None:
            for _ in range(count):
                self._mean, self._covariance = self._filter.predict(self._mean, self._covariance)

    def _restart(self) -> None:
        """What is known of the signal is its mean and covariance."""
        mean, covariance = self._sums.moments()
        self._mean[:], self._covariance[:] = mean, covariance

    def _predict(self, cells: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Go on by a frame with the values of some cells; return signals (F, d) and their standard deviations."""
        if self._filter is None:
            return self._mean, self._mean
        self._mean, self._covariance = self._filter.predict(self._mean, self._covariance)
        if len(cells):
            self._mean, self._covariance = self._filter.observe(self._mean, self._covariance, cells, values)
        if not (np.isfinite(self._mean).all() and np.isfinite(self._covariance).all()):  # one that grew for ever
            self._restart()
        variance = np.maximum(np.diagonal(self._covariance, axis1=1, axis2=2), LEAST_VARIANCE)
        return self._mean + self._pivot, np.sqrt(variance)

    def _sd_factor(self) -> np.ndarray:
        """What errors of earlier frames (d,) are of the model's standard deviation."""
        factor: np.ndarray = np.sqrt((AS_STATED + self._by_model[self._chosen]) / (AS_STATED + self._weight_of_model))
        return factor

    def _compare(self, y: np.ndarray, predicted: np.ndarray, by_model: np.ndarray, sd: np.ndarray) -> None:
        """Compare predictions (F, d), and the standard deviations of the model and as given, with what came."""
        self._r2.add(predicted[self._chosen], y)
        if np.isfinite(predicted).all():
            kept, squares = 1 - 1 / self.params.r2_frames, (y - predicted) ** 2
            self._squares = kept * self._squares + squares
            self._by_sd = kept * self._by_sd + squares[self._chosen] / sd**2
            kept_sd = 1 - 1 / min(SD_FRAMES, self.params.r2_frames)
            self._by_model = kept_sd * self._by_model + squares / by_model**2
            self._weight = kept * self._weight + 1
            self._weight_of_model = kept_sd * self._weight_of_model + 1

    def _learn(self, y: np.ndarray, cells: np.ndarray, values: np.ndarray) -> None:
        if np.isnan(self._pivot).any():
            self._pivot = y.copy()
        x, limit = y - self._pivot, self.params.train_frames
        if limit is None or self._learned < limit:
            self._sums.add(None if np.isnan(self._before).any() else self._before, x, cells, values)
            self._learned += 1
        self._before = x

    def _solve(self) -> None:
        columns = self._r2.columns
        model = self._sums.model(max(self.params.solve_frames // 2, 2 * (columns + 2)))
        if model is None:
            return
        if self._filter is None:
            self._restart()
        else:
            least = np.maximum(self._squares.mean(0), LEAST_VARIANCE)
            self._chosen = int((self._squares / least).sum(1).argmin())
        self._take(model)

    def _take(self, model: Model) -> None:
        self._model, self._filter = model, Filter(model, self._factors)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        columns, cells = self._r2.columns, len(self._seen.ids)
        tuning, noise = np.full((cells, columns), np.nan), np.full(cells, np.inf)
        transition, transition_noise = np.full((2, columns, columns), np.nan)
        if (model := self._model) is not None:
            tuning[: len(model.tuning)], noise[: len(model.noise)] = model.tuning, model.noise
            transition, transition_noise = model.transition.copy(), model.transition_noise.copy()
        with np.errstate(all="ignore"):
            by_sd = np.sqrt(self._by_sd / self._weight)
        found = {
            "r2": self._r2.value(), "error_by_sd": by_sd, "sd_factor": self._sd_factor(),
            "noise_factor": np.array(self._factors[self._chosen]),
            "transition": transition, "transition_noise": transition_noise, "tuning": tuning, "noise": noise,
            "ids": self._seen.ids.copy(), "frames": np.array(self._learned),
        }  # fmt: skip
        return {name: found[name] for name in self.snapshot_names(names)}

    def state(self) -> State:
        model: State = {}
        if self._model is not None:
            model = {f"model_{name}": array.copy() for name, array in self._model._asdict().items()}
            model["model_noise"] = np.where(np.isfinite(self._model.noise), self._model.noise, -1.0)
        return {
            "next_index": self._next_index, "learned": self._learned, "columns": self._r2.columns,
            "solved": int(self._model is not None), "ids": self._seen.ids.copy(),
            **{f"{name}": np.nan_to_num(array, nan=0.0) for name, array in self._known().items()},
            "known": np.array([np.isfinite(array).all() for array in self._known().values()]),
            "by_sd": self._by_sd.copy(), "weight": self._weight.copy(),
            "weight_of_model": self._weight_of_model.copy(), "chosen": self._chosen,
            "factor_squares": self._squares.copy(), "by_model": self._by_model.copy(),
            **self._sums.state(), **self._r2.state(), **model,
        }  # fmt: skip

    def _known(self) -> dict[str, np.ndarray]:
        """What is all finite or not known at all."""
        return {"pivot": self._pivot, "before": self._before, "mean": self._mean, "covariance": self._covariance}

    def restore(self, state: State) -> None:
        columns = require_int(state, "columns", self.kind)
        self._begin(columns, SeenIds(restored(state, "ids", (-1,), self.kind, np.int64)))
        self._sums.restore(state, self.kind)
        self._r2.restore(state, self.kind)
        known = restored(state, "known", (4,), self.kind, np.bool_)
        for (name, array), there in zip(self._known().items(), known, strict=True):
            found = restored(state, name, array.shape, self.kind)
            array[...] = found if there else np.nan
        self._by_sd = restored(state, "by_sd", (columns,), self.kind)
        self._weight = restored(state, "weight", (1,), self.kind)
        self._weight_of_model = restored(state, "weight_of_model", (1,), self.kind)
        self._squares = restored(state, "factor_squares", self._squares.shape, self.kind)
        self._by_model = restored(state, "by_model", self._by_model.shape, self.kind)
        self._chosen = require_int(state, "chosen", self.kind)
        if not 0 <= self._chosen < len(self._factors):
            raise StateError(f"kalman: state 'chosen' is one of {len(self._factors)} factors, found {self._chosen}")
        if require_int(state, "solved", self.kind):
            cells = restored(state, "model_noise", (-1,), self.kind)
            shapes = ((columns, columns), (columns,), (columns, columns), (len(cells), columns), (len(cells),))
            names = [f"model_{name}" for name in Model._fields[:-1]]
            a, b, w, h, c = (restored(state, n, shape, self.kind) for n, shape in zip(names, shapes, strict=True))
            self._take(Model(a, b, w, h, c, np.where(cells < 0, np.inf, cells)))
        self._next_index, self._learned = (require_int(state, name, self.kind) for name in ("next_index", "learned"))
