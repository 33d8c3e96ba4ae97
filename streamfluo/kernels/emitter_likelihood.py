"""Likelihood of traces under every number of emitters, and its slopes by the parameters, on all cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from .emitter_chain import LANES, fill_matrices
from .emitter_filter import SLOPES, filter_forward, smooth
from .emitter_light import add_light_slopes, fill_light

Array = np.ndarray
_WIDE, _ONE = (0,) * LANES, (0,)


@dataclass(frozen=True)
class EmitterModel:
    """What is settled before parameters are: emission, bleaching, candidates min_y … max_y, and outliers.

    `width`: of a bin of intensity, which probabilities are for; `bins` of them hold an outlier with p_outlier.
    """

    camera: bool
    bleaching: bool
    min_y: int
    max_y: int
    width: float
    bins: int = 1024
    p_outlier: float = 0.1

    @property
    def mixing(self) -> tuple[float, float]:
        """Logarithms of (1 − p_outlier) · width and of p_outlier / bins."""
        outlier = math.log(self.p_outlier / self.bins) if self.p_outlier > 0 else -math.inf
        return math.log1p(-self.p_outlier) + math.log(self.width), outlier

    @property
    def candidates(self) -> Array:
        """The numbers of emitters that are weighed."""
        return np.arange(self.min_y, self.max_y + 1)


@njit(nogil=True, cache=True)
def _evaluate_lanes(x, camera, brightness, mixing, kinetics, low, high, bleaches, weigh, lanes, own, logs, slopes):  # type: ignore[no-untyped-def]
    """Fill logs[y, lane]; with `weigh` also slopes[:, lane] of log Σ_y P(trace | y), y evenly likely beforehand."""
    frames, zs, size = len(x), high + 1, high + 1
    light, outlier = np.empty((frames, zs, len(lanes))), np.empty((frames, len(lanes)))
    top = np.empty((frames, len(lanes)))
    blinking, by_on, by_off = np.zeros((3, size, size, size, len(own)))
    bleaching, by_bleach = np.zeros((2, size, size, len(own)))
    fill_light(x, camera, brightness, mixing, zs, lanes, light, outlier, top)
    fill_matrices(kinetics, 0 if bleaches else low, high, blinking, by_on, by_off, bleaching, by_bleach)
    filter_forward(light, top, kinetics, blinking, bleaching, low, high, bleaches, lanes, own, logs)
    if not weigh:
        return
    share, part = np.zeros((size, len(lanes))), np.zeros((frames, zs, len(lanes)))
    for lane in range(len(lanes)):
        best = logs[low:size, lane].max()
        share[low:size, lane] = np.exp(logs[low:size, lane] - best)
        share[low:size, lane] /= share[low:size, lane].sum()
    slopes[:] = 0.0
    smooth(
        light, kinetics, blinking, by_on, by_off, bleaching, by_bleach, share, low, high, bleaches, lanes, own,
        part, slopes,
    )  # fmt: skip
    add_light_slopes(x, camera, brightness, light, outlier, part, zs, lanes, slopes)


def evaluate(
    x: Array, parameters: Array, model: EmitterModel, slopes: bool = False, threads: int = 1
) -> tuple[Array, Array | None]:
    """Return log P(trace | y) (n, candidates), and the slopes (n, 6) of log Σ_y P(trace | y) where asked for.

    x (t, n): electrons, or the log of intensities. parameters (n, 6): mu, mu_bg, sigma, p_on, p_off, p_bleach; kinetics
    that all traces share cost less. Cost for 1000 frames, y ≤ 10, a trace: the likelihood 0.15 ms, slopes 0.3 ms more.
    """
    count = x.shape[1]
    shared = bool((parameters[:, 3:] == parameters[0, 3:]).all())
    logs = np.empty((model.max_y + 1, count))
    found = np.empty((SLOPES, count)) if slopes else None
    order = np.argsort(np.nanmean(x, axis=0)) if count > LANES else np.arange(count)  # like next to like: few y count

    def work(at: int) -> None:
        mine = order[at : at + LANES]
        alone = len(mine) == 1
        padded = mine if alone else np.resize(mine, LANES)
        lanes, own = _ONE if alone else _WIDE, _ONE if alone or shared else _WIDE
        chosen = np.ascontiguousarray(parameters[padded].T)
        kinetics = np.ascontiguousarray(chosen[3:, : len(own)])
        log, slope = np.zeros((model.max_y + 1, len(lanes))), np.zeros((SLOPES, len(lanes)))
        _evaluate_lanes(
            np.ascontiguousarray(x[:, padded]), model.camera, chosen[:3], model.mixing, kinetics, model.min_y,
            model.max_y, model.bleaching, slopes, lanes, own, log, slope,
        )  # fmt: skip
        logs[:, mine] = log[:, : len(mine)]
        if found is not None:
            found[:, mine] = slope[:, : len(mine)]

    in_threads(work, range(0, count, LANES), threads)
    return logs[model.min_y :].T, None if found is None else found.T


def in_threads(work: Callable[[int], None], items: range, threads: int) -> None:
    """Do the work on every item, on that many threads (0: one for each core)."""
    threads = threads or os.cpu_count() or 1
    if threads == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))
