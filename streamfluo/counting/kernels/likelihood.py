"""Likelihood of traces under every number of emitters, and its slopes by the parameters, on all cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.special import ndtr

from .emission import add_light_slopes, fill_light
from .forward_backward import SLOPES, filter_forward, smooth
from .transitions import LANES, fill_matrices

Array = np.ndarray


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
def _evaluate_lanes(x, camera, brightness, mixing, kinetics, low, high, bleaches, weigh, logs, slopes):  # type: ignore[no-untyped-def]
    """Fill logs[y, lane]; with `weigh` also slopes[:, lane] of log Σ_y P(trace | y), y evenly likely beforehand."""
    frames, lanes = x.shape
    size, own = high + 1, kinetics.shape[1]
    light, outlier, top = np.empty((frames, size, lanes)), np.empty((frames, lanes)), np.empty((frames, lanes))
    blinking, by_on, by_off = np.zeros((3, size, size, size, own))
    bleaching, by_bleach = np.zeros((2, size, size, own))
    fill_light(x, camera, brightness, mixing, size, light, outlier, top)
    fill_matrices(kinetics, 0 if bleaches else low, high, blinking, by_on, by_off, bleaching, by_bleach)
    filter_forward(light, top, kinetics, blinking, bleaching, low, high, bleaches, logs)
    if not weigh:
        return
    share, part = np.zeros((size, lanes)), np.zeros((frames, size, lanes))
    for lane in range(lanes):
        best = logs[low:size, lane].max()
        total = np.exp(logs[low:size, lane] - best).sum()
        share[low:size, lane] = np.exp(logs[low:size, lane] - best) / total
    slopes[:] = 0.0
    smooth(
        light, kinetics, blinking, by_on, by_off, bleaching, by_bleach, share, low, high, bleaches,
        part, slopes,
    )  # fmt: skip
    add_light_slopes(x, camera, brightness, light, outlier, part, size, slopes)


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
        chosen = np.ascontiguousarray(parameters[mine].T)
        kinetics = np.ascontiguousarray(chosen[3:, :1] if shared else chosen[3:])
        log, slope = np.zeros((model.max_y + 1, len(mine))), np.zeros((SLOPES, len(mine)))
        _evaluate_lanes(
            np.ascontiguousarray(x[:, mine]), model.camera, chosen[:3], model.mixing, kinetics, model.min_y,
            model.max_y, model.bleaching, slopes, log, slope,
        )  # fmt: skip
        logs[:, mine] = log
        if found is not None:
            found[:, mine] = slope

    in_threads(work, range(0, count, LANES), threads)
    return logs[model.min_y :].T, None if found is None else found.T


def binned_logs(edges: Array, parameters: Array, model: EmitterModel) -> Array:
    """Return log P(trace | y) (n, candidates) of intensities known to bins: light integrated over each bin.

    edges (t, n): lower edges of the bins the intensities lie in, `model.width` wide; NaN: not measured. 10 ms a trace.
    """
    logs = np.zeros((model.max_y + 1, edges.shape[1]))
    zs = np.arange(model.max_y + 1)
    size = len(zs)
    for n, theta in enumerate(parameters):
        mean = theta[0] * zs + theta[1]
        upper = edges[:, n, None] + model.width
        if model.camera:
            wide = np.sqrt(np.maximum(mean, 0) + theta[2] ** 2)
            inside = ndtr((upper - mean) / wide) - ndtr((edges[:, n, None] - mean) / wide)
        else:
            lower = np.log(np.maximum(edges[:, n, None], 1e-12))
            inside = ndtr((np.log(upper) - np.log(mean)) / theta[2]) - ndtr((lower - np.log(mean)) / theta[2])
        light = (1 - model.p_outlier) * inside + model.p_outlier / model.bins
        light[np.isnan(edges[:, n])] = 1.0
        kinetics = np.ascontiguousarray(theta[3:, None])
        matrices, falls = np.zeros((3, size, size, size, 1)), np.zeros((2, size, size, 1))
        fill_matrices(kinetics, 0 if model.bleaching else model.min_y, model.max_y, *matrices, *falls)
        log = np.zeros((size, 1))
        filter_forward(
            np.ascontiguousarray(light[..., None]), np.zeros((len(edges), 1)), kinetics, matrices[0], falls[0],
            model.min_y, model.max_y, model.bleaching, log,
        )  # fmt: skip
        logs[:, n] = log[:, 0]
    return logs[model.min_y :].T


def in_threads(work: Callable[[int], None], items: range, threads: int) -> None:
    """Do the work on every item, on that many threads (0: one for each core)."""
    threads = threads or os.cpu_count() or 1
    if threads == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))
