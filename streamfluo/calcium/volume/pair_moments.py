"""Running sums of traces and of pairs of them, with frames in which one is not known left out."""

from __future__ import annotations

import numpy as np

from ...core.state import State, require_array

FRAMES, X, Y, XX, YY, XY = range(6)  # of a pair
COUNT, SUM, SQUARE, LAGS, LAGGED = range(5)  # of a trace: frames, x, x²; pairs of frames on end, x_t · x_{t-1}


class PairMoments:
    """Sums over frames of n traces and of `pairs` (m, 2) of them, each frame's weight falling by `decay` a frame.

    Cost: .1 ms a frame for 2,000 pairs.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self.pairs = np.empty((0, 2), np.int64)
        self.sums, self.own = np.zeros((6, 0)), np.zeros((5, 0))
        self._before = np.empty(0)

    def grow(self, count: int) -> None:
        """Make room for so many traces in all."""
        more = count - self.own.shape[1]
        self.own = np.pad(self.own, ((0, 0), (0, more)))
        self._before = np.pad(self._before, (0, more), constant_values=np.nan)

    def follow(self, pairs: np.ndarray) -> None:
        """Follow these pairs (m, 2) from the next frame on; what is known of them from before stays."""
        known = {(i, j): n for n, (i, j) in enumerate(self.pairs.tolist())}
        at = np.array([known.get((i, j), -1) for i, j in pairs.tolist()], np.int64)
        sums = np.zeros((6, len(pairs)))
        sums[:, at >= 0] = self.sums[:, at[at >= 0]]
        self.pairs, self.sums = pairs.astype(np.int64).reshape(-1, 2), sums

    def take(self, row: np.ndarray) -> None:
        """Take a frame: the value of each trace (n,), NaN where it is not known."""
        here, before = np.isfinite(row), self._before
        lagged = here & np.isfinite(before)
        x = np.where(here, row, 0.0)
        self.own[:3, here] = self.own[:3, here] * self._decay + np.stack([here, x, x * x])[:, here]
        product = (x * np.where(lagged, before, 0.0))[lagged]
        self.own[3:, lagged] = self.own[3:, lagged] * self._decay + np.stack([np.ones(len(product)), product])
        self._before = row.copy()
        a, b = row[self.pairs.T]
        known = np.isfinite(a) & np.isfinite(b)
        a, b = a[known], b[known]
        new = np.stack([np.ones(len(a)), a, b, a * a, b * b, a * b])
        self.sums[:, known] = self.sums[:, known] * self._decay + new

    def variances(self) -> np.ndarray:
        """Return the variance of each trace (n,), NaN of one that was not seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.own[SUM] / self.own[COUNT]
            return np.asarray(np.maximum(self.own[SQUARE] / self.own[COUNT] - mean**2, 0))

    def lag_covariances(self) -> np.ndarray:
        """Return the covariance of each trace with itself a frame later (n,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.own[SUM] / self.own[COUNT]
            return np.asarray(self.own[LAGGED] / self.own[LAGS] - mean**2)

    def of_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return of each pair (m,) its frames, the variances of its two traces in those, and their covariance."""
        n = np.maximum(self.sums[FRAMES], 1e-12)
        x, y = self.sums[X] / n, self.sums[Y] / n
        first, second = self.sums[XX] / n - x * x, self.sums[YY] / n - y * y
        return self.sums[FRAMES], np.maximum(first, 0), np.maximum(second, 0), self.sums[XY] / n - x * y

    def state(self) -> State:
        """Return all sums, the pairs and the frame before."""
        return {
            "pairs": self.pairs.copy(), "pair_sums": self.sums.copy(), "own_sums": self.own.copy(),
            "before": self._before.copy(),
        }  # fmt: skip

    def restore(self, state: State, count: int, where: str) -> None:
        """Take over what `state` returned, of so many traces. Raises StateError."""
        pairs = np.size(state.get("pairs", ())) // 2
        self.pairs = require_array(state, "pairs", np.empty((pairs, 2), np.int64), where)
        self.sums = require_array(state, "pair_sums", np.empty((6, pairs)), where)
        self.own = require_array(state, "own_sums", np.empty((5, count)), where)
        self._before = require_array(state, "before", np.empty(count), where)
