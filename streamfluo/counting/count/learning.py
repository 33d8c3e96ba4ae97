"""Estimates of the model parameters from the traces recorded so far."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from ...core.errors import FrameError
from ...core.later import Later
from ...core.learning import Learning
from ..bounds import has_steps, min_frames, parameter_bounds, shot_noise_error, without_extremes
from ..checks import REASONS, doubts
from ..fit import Search, fit_pooled
from ..fit_alone import fit_alone
from ..half_lit import half_lit
from ..kernels.crosschecks import log_prior, posterior, traces_bleaching_steps
from ..kernels.likelihood import EmitterModel, evaluate
from ..rate_scatter import rate_scatter
from ..shared_posterior import Factors, log_posterior, of_each
from .filter import OnlineFilter
from .params import CountParams

TRACES = 24  # that shared parameters are fitted to
DONE_LIMIT = 1e-4
WARM_STEPS = 10  # of a fit that starts from an earlier one
DRAWS = 8  # of the parameters that traces share
BINS = 1024
# Learning [s]: once, for each frame of the record, for each spot of it: on a machine that is busy. Of CPU time it takes
# 1 s for 30 spots of 200 frames, 3.5 s for 1000, 6.2 s for 1000 of 400, 3 to 5 s for 300 of 800, 7 s for 100 of 3000.
LEARN_S = 3.0, 6e-3, 2.5e-5
LEAST = 1e-300  # of a probability that has a logarithm


def model_of(params: CountParams, width: float, emitters: int | None = None) -> EmitterModel:
    """Return the model of all candidates, or of one number of emitters, for intensity bins of `width`."""
    low, high = (params.min_emitters, params.max_emitters) if emitters is None else (emitters, emitters)
    return EmitterModel(params.emission == "camera", params.bleaching, low, high, width, BINS, params.p_outlier)


def observation(intensity: np.ndarray, camera: bool) -> np.ndarray:
    """Return electrons, or the logarithm of intensities; NaN: not measured, or no logarithm."""
    if camera:
        return np.where(np.isfinite(intensity), intensity, np.nan)
    good = np.isfinite(intensity) & (intensity > 0)
    return np.log(np.where(good, intensity, 1.0), where=good, out=np.full(intensity.shape, np.nan))


class Learned(NamedTuple):
    """Parameters (n, candidates, 6), those of a typical trace (candidates, 6), the model.

    `widening` (n, candidates): log posterior over all shared parameters less that under the best.
    """

    parameters: np.ndarray
    typical: np.ndarray
    model: EmitterModel
    widening: np.ndarray


def learn(params: CountParams, intensity: np.ndarray, before: np.ndarray | None) -> Learned | None:
    """Return what traces (t, n) tell of the parameters; None: no usable trace, or none that any parameters explain.

    before (candidates, 6): the typical trace of the last estimate, where the fit starts. Raises FrameError where no
    intensities can be electrons.
    """
    camera = params.emission == "camera"
    intensity = without_extremes(intensity)
    x = observation(intensity, camera)
    intensity = np.where(np.isnan(x), np.nan, intensity)
    usable = np.isfinite(x).sum(0) >= max(min_frames(params.bleaching), len(x) // 2)
    usable[usable] &= has_steps(intensity[:, usable])
    if not usable.any():
        return None
    if camera and (reason := shot_noise_error(intensity[:, usable])):
        raise FrameError(f"count: {reason}")
    count, candidates = x.shape[1], params.max_emitters - params.min_emitters + 1
    x, intensity = x[:, usable], intensity[:, usable]
    x = np.where(half_lit(x, intensity), np.nan, x)
    model = model_of(params, float(np.nanmax(np.abs(intensity))) / BINS)
    bounds = parameter_bounds(intensity, camera, params.bleaching, params.read_noise_e)
    pooled = params.pooled if params.pooled is not None else count > 1
    learned = np.empty((count, candidates, 6))
    if pooled:
        start = None if before is None else before[0]
        steps = 1000 if start is None else WARM_STEPS
        search = Search(bounds, max_steps=steps, done_limit=DONE_LIMIT, traces=TRACES)
        found = fit_pooled(x, intensity, model, search, params.brightness_scatter, start)
        if found is None:
            return None
        factors = Factors(x, found.scatter, model, 1)
        best = of_each(found.parameters, factors.under(found.parameters))
        learned[:], widening = found.parameters, np.zeros((count, candidates))
        learned[usable] = best[:, None]

        def logs_under(each: np.ndarray) -> np.ndarray:
            return evaluate(x, each, model)[0]

        wide = log_posterior(factors, found, model, search, DRAWS, logs_under)
        widening[usable] = wide - log_softmax(logs_under(best) + log_prior(model.candidates), axis=1)
        return Learned(learned, np.tile(found.parameters, (candidates, 1)), model, widening)
    own = Search(np.repeat(bounds[None], x.shape[1], 0), done_limit=DONE_LIMIT)
    for k, emitters in enumerate(model.candidates.tolist()):
        fits = fit_alone(x, intensity, model_of(params, model.width, emitters), own)[0]
        learned[:, k] = np.median(fits, axis=0)
        learned[usable, k] = fits
    return Learned(learned, np.median(learned[usable], axis=0), model, np.zeros((count, candidates)))


class Learner:
    """Estimates parameters from a record on a thread of its own, filters it under them, and goes on with the frames.

    `frames`: length of the record; 0: idle. `takes_over`: after how many frames its filter is to be used. It waits for
    `kernels`.
    """

    def __init__(self, kernels: Later) -> None:
        self._kernels = kernels
        self.frames = self.takes_over = 0
        self._filtering: _Filtering | None = None
        self._learning: Learning[np.ndarray] | None = None

    def begin(self, params: CountParams, record: np.ndarray, before: np.ndarray | None, takes_over: int) -> None:
        """Start on a record (t, n) that no one writes to; `before` as in `learn`."""
        self.give_up()
        self.frames, self.takes_over = len(record), takes_over
        self._filtering = filtering = _Filtering(params, record, before)
        self._learning = Learning(partial(_begin, self._kernels, filtering), filtering.take)

    def put(self, frame: np.ndarray) -> None:
        """Have it take a frame (n,) behind the record."""
        if self._learning is not None:
            self._learning.put(frame)

    def result(self) -> tuple[OnlineFilter | None, np.ndarray]:
        """Wait for the filter after the last frame that was put, None of no usable trace, and the bleaching steps (n,).

        Of the last record alone; of others they are NaN.
        """
        assert self._learning is not None
        assert self._filtering is not None
        learning, filtering = self._learning, self._filtering
        self.frames = self.takes_over = 0
        self._learning = self._filtering = None
        learning.join()
        return filtering.found, filtering.steps

    def give_up(self) -> None:
        """What it learns is not wanted any more."""
        if self._learning is not None:
            self._learning.give_up()
        self.frames = self.takes_over = 0
        self._learning = self._filtering = None


class _Filtering:
    """The filter that is learned from a record (t, n), and goes on with each frame behind it."""

    def __init__(self, params: CountParams, record: np.ndarray, before: np.ndarray | None) -> None:
        self._params, self._record, self._before = params, record, before
        self.found: OnlineFilter | None = None
        self.steps = np.full(record.shape[1], np.nan)

    def begin(self) -> None:
        self.found = _filter_of(self._params, self._record, self._before)
        if len(self._record) >= self._params.learn_frames:  # 50 µs a trace
            self.steps = traces_bleaching_steps(self._record)

    def take(self, frame: np.ndarray) -> None:
        if self.found is not None:
            self.found = self.found.grown(len(frame))
            self.found.advance(observation(frame[None], self._params.emission == "camera"))


def _begin(kernels: Later, filtering: _Filtering) -> None:
    kernels.wait()
    filtering.begin()


def delay_frames(params: CountParams, frames: int, spots: int, interval_s: float | None) -> int:
    """Return how many frames after a record of so many its parameters take over: as many as come meanwhile."""
    if params.learn_delay_frames is not None:
        return params.learn_delay_frames
    least = max(1, params.update_every // 2)
    if interval_s is None:
        return least
    once, each, each_spot = LEARN_S
    return max(least, math.ceil((once + frames * (each + spots * each_spot)) / interval_s))


def _filter_of(params: CountParams, record: np.ndarray, before: np.ndarray | None) -> OnlineFilter | None:
    learned = learn(params, record, before)
    if learned is None:
        return None
    parameters, typical, model, widening = learned
    if params.max_x is not None:
        model = model_of(params, params.max_x / BINS)
    online = OnlineFilter(record.shape[1], model)
    online.begin(model, parameters, typical)
    x = observation(record, params.emission == "camera")
    online.advance(x)
    online.widening, online.widening_of_rates = widening, widening.copy()
    _judge(x, online, params)
    return online


def _judge(x: np.ndarray, online: OnlineFilter, params: CountParams) -> None:
    """Store why the model could not have made traces x (t, n), the share lit in part, and what hangs on their rates."""
    candidates = online.model.candidates
    probabilities = posterior(online.logs(), candidates)
    best = probabilities.argmax(1)  # numbers and parameters that belong together
    seen = np.flatnonzero(np.isfinite(x).sum(0) >= min_frames(params.bleaching))
    if not len(seen):
        return
    x = x[:, seen]
    partly = half_lit(x, x if online.model.camera else np.exp(x))
    x = np.where(partly, np.nan, x)
    chosen = online.parameters[seen, best[seen]]
    pooled = params.pooled if params.pooled is not None else len(online.doubts) > 1
    reasons = doubts(x, candidates[best[seen]], chosen, online.model, pooled, bool(partly.any()))
    rates = rate_scatter(x, chosen, online.model) if pooled and params.parameters is None else None
    if rates is not None:
        reasons = np.where((reasons == "") & rates.told, "rates", reasons)
        if not partly.any():
            differ, one = (np.log(np.maximum(each, LEAST)) for each in (rates.posterior, probabilities[seen]))
            online.widening_of_rates[seen] = differ - one
    online.doubts[seen] = [REASONS.index(reason) for reason in reasons]
    online.half_lit = float(partly.mean())
