"""Parameters of emitters from the traces recorded so far."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..bounds import least_frames, ranges_of
from ..fit import Search, fit_factors, fit_pooled
from ..fit_alone import fit_alone
from ..kernels.likelihood import EmitterModel
from .filter import LiveFilter
from .params import CountParams

TRACES = 24  # that tell what all share, while frames wait
DONE_LIMIT = 1e-4
MORE_STEPS = 10  # of a fit that goes on from an earlier one: frames wait while it climbs
BINS = 1024


def model_of(params: CountParams, width: float, low: int | None = None, high: int | None = None) -> EmitterModel:
    """The model these settings mean; candidates low … high."""
    return EmitterModel(
        params.emission == "camera", params.bleaching, low or params.min_y, high or params.max_y, width, BINS,
        params.p_outlier,
    )  # fmt: skip


def seen_as(intensity: np.ndarray, camera: bool) -> np.ndarray:
    """Electrons, or the log of intensities; NaN where there is none."""
    if camera:
        return np.where(np.isfinite(intensity), intensity, np.nan)
    good = np.isfinite(intensity) & (intensity > 0)
    return np.log(np.where(good, intensity, 1.0), where=good, out=np.full(intensity.shape, np.nan))


def learn(
    params: CountParams, intensity: np.ndarray, before: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, EmitterModel] | None:
    """Return parameters (n, candidates, 6), a typical trace's (candidates, 6) and the model, from intensity (t, n).

    `before` (candidates, 6): a typical trace's by what was learned earlier, to go on from. None where nothing can be
    learned.
    """
    camera = params.emission == "camera"
    x = seen_as(intensity, camera)
    intensity = np.where(np.isnan(x), np.nan, intensity)
    usable = np.isfinite(x).sum(0) >= max(least_frames(params.bleaching), len(x) // 2)
    usable[usable] &= np.nanstd(x[:, usable], axis=0) > 0
    if not usable.any():
        return None
    count, candidates = x.shape[1], params.max_y - params.min_y + 1
    x, intensity = x[:, usable], intensity[:, usable]
    model = model_of(params, float(np.nanmax(np.abs(intensity))) / BINS)
    bounds = ranges_of(intensity, camera, params.bleaching, params.read_noise_e)
    pooled = params.pooled if params.pooled is not None else count > 1
    learned = np.empty((count, candidates, 6))
    if pooled:
        start = None if before is None else before[0]
        steps = 1000 if start is None else MORE_STEPS
        search = Search(bounds, max_steps=steps, done_limit=DONE_LIMIT, traces=TRACES)
        found = fit_pooled(x, intensity, model, search, params.brightness_scatter, start)
        learned[:] = found.parameters
        if found.scatter:
            factors = np.zeros(count)
            factors[usable] = fit_factors(x, found.parameters, model, found.scatter)
            learned[..., 0] *= np.exp(factors)[:, None]
        return learned, np.tile(found.parameters, (candidates, 1)), model
    own = Search(np.repeat(bounds[None], x.shape[1], 0), done_limit=DONE_LIMIT)
    for k, y in enumerate(model.candidates.tolist()):
        fits = fit_alone(x, intensity, model_of(params, model.width, y, y), own)[0]
        learned[:, k] = np.median(fits, axis=0)
        learned[usable, k] = fits
    return learned, np.median(learned[usable], axis=0), model


class Learner:
    """Learns from a record on a thread of its own, and runs a filter through it, while frames go on.

    `frames`: of the record it learns from; 0 while it does nothing.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._worker: ThreadPoolExecutor | None = None
        self._found: Future[LiveFilter | None] | None = None

    def begin(self, params: CountParams, record: np.ndarray, before: np.ndarray | None) -> None:
        """Learn from a record (t, n) that nobody changes; `before` as `learn` takes it."""
        self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="count")
        self.frames, self._found = len(record), self._worker.submit(_filter_of, params, record, before)

    def result(self) -> LiveFilter | None:
        """Wait for the filter behind the record's last frame; None where nothing could be learned."""
        assert self._found is not None
        found, self.frames, self._found = self._found.result(), 0, None
        return found


def _filter_of(params: CountParams, record: np.ndarray, before: np.ndarray | None) -> LiveFilter | None:
    learned = learn(params, record, before)
    if learned is None:
        return None
    parameters, typical, model = learned
    if params.max_x is not None:
        model = model_of(params, params.max_x / BINS)
    live = LiveFilter(record.shape[1], model)
    live.begin(model, parameters, typical)
    live.advance(seen_as(record, params.emission == "camera"))
    return live
