"""The number of fluorophores in a blinking intensity trace, for traces in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ConfigError, FrameError
from ..core.spec import Camera
from .bounds import min_frames, shot_noise_error, trace_error
from .checks import MOST_DOUBTFUL, doubts
from .exposure import Exposed, fit_exposed
from .fit import fit_pooled
from .fit_alone import UNKNOWN_AT_0
from .initial_values import median_step
from .job import Job, scalars
from .kernels.crosschecks import credible_interval, is_flat, joined, posterior, widened
from .kernels.likelihood import log_evidence
from .parameters import Emission, HyperParameters, ParameterRanges, Parameters, TraceModel
from .rate_scatter import rate_scatter
from .shared_posterior import Factors, log_posterior, of_each
from .traces import checked_traces, steady

Progress = Callable[[int, int], None]
DRAWS = 16  # of the parameters that traces share
STEP_BELOW, STEP_ABOVE = 1.5, 1.25  # what the median step may be off by; half and twice the brightness are beyond
_Found = dict[str, np.ndarray]
log = logging.getLogger("streamfluo")


class _Fit(NamedTuple):
    """Parameters (n, candidates, 6), log-likelihoods and posterior (n, candidates), a model of frames lit in part."""

    parameters: np.ndarray
    logs: np.ndarray
    posterior: np.ndarray
    exposed: Exposed | None = None


@dataclass(frozen=True)
class Counts:
    """Result of `estimate_y` for n traces; unpacks as blinx's (y, parameters, log_likelihoods).

    `y` (n,): most probable number of fluorophores under the prior P(y) ∝ 1 / (y + 1); 0 also where a trace is skipped.
    `parameters`: arrays (n, candidates), NaN what a trace without emitters does not tell. `log_likelihoods`,
    `posterior` (n, candidates). `candidates`: min_y … max_y. `credible_interval` (n, 2): 90 %, also where rates of
    coming on differ by up to 30 % between traces that do not deny it; from `y` / 3 to 2 `y` where doubtful. `flat`
    (n,): the interval does not determine the number, or reaches max_y. `doubtful` (n,): the model could not have made
    the trace; `doubts` (n,): why, one of `checks.REASONS`. `states` (n, t): emitters on along the Viterbi path.
    `scatter`: relative standard deviation of brightness between traces. `half_lit`: share of the frames within which
    emitters are seen to switch. `skipped`: the reason, by index of the trace.
    """

    y: np.ndarray
    parameters: Parameters
    log_likelihoods: np.ndarray
    posterior: np.ndarray
    candidates: np.ndarray
    credible_interval: np.ndarray
    flat: np.ndarray
    doubtful: np.ndarray
    doubts: np.ndarray
    states: np.ndarray
    scatter: float
    half_lit: float
    skipped: dict[int, str]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.y, self.parameters, self.log_likelihoods))


def estimate_y(
    traces: Any,
    max_y: int,
    parameter_ranges: ParameterRanges | None = None,
    hyper_parameters: HyperParameters | None = None,
    *,
    emission: Emission = "lognormal",
    pooled: bool | None = None,
    camera: Camera | None = None,
    bleaching: bool = False,
    brightness_scatter: float | None = None,
    illumination: Any = None,
    background: Any = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Counts:
    """Return the posterior number of fluorophores of each trace (n, t), with parameters and credible intervals.

    pooled: traces share brightness and kinetics, and each has a brightness factor of relative standard deviation
    `brightness_scatter` (None: estimated; 0: none); None: pooled if there are several traces. camera: traces are in ADU
    under the camera emission; None: in electrons. illumination (t,), background (t,) or (n, t): how they ran
    (`traces.steady`). threads: 0 for all cores. Cost of a trace of 1000 frames, max_y = 10:
    up to 0.2 CPU s pooled, more alone. A trace that cannot be counted is skipped with a warning. Raises FrameError
    if none can be counted, ConfigError for parameters. (Names `y`, `max_y` and model: blinx; algorithm: Rabiner 1989.)
    """
    hyper = hyper_parameters or HyperParameters()
    if not (isinstance(max_y, int | np.integer) and hyper.min_y <= max_y <= 50):
        raise ConfigError(f"estimate_y: max_y is an integer from min_y = {hyper.min_y} to 50, found {max_y!r}")
    model = TraceModel(emission, camera, bleaching)
    if illumination is not None or background is not None:
        offset = scalars(camera)[0] if emission == "camera" else 0.0
        traces = steady(checked_traces(traces), illumination, background, offset)
    checked, skipped = _checked(traces, model)
    good = [n for n in range(len(checked)) if n not in skipped]
    candidates = np.arange(hyper.min_y, int(max_y) + 1)
    job = Job(checked[good].T, model, parameter_ranges, hyper, threads).leave_out_half_lit()
    report = progress or (lambda done, of: None)
    shared = len(good) > 1 if pooled is None else pooled
    fitted = _pooled(job, candidates, brightness_scatter) if shared else (_alone(job, candidates, report), 0.0)
    if fitted is None:
        raise FrameError("counting: no parameters within their ranges explain the traces; widen those that are stated")
    fit, scatter = fitted
    report(len(good), len(good))
    found = _summaries(job, fit, candidates, shared)
    if shared:
        whole = found
        found = _integrated(job, whole, candidates, scatter)
        if found is whole:
            found = _over_rates(job, _anchored(job, whole, candidates, brightness_scatter), candidates)
    of_all = {name: _with_skipped(array, good, len(checked)) for name, array in found.items()}
    every = Parameters.of(of_all.pop("parameters"))
    return Counts(
        parameters=every, candidates=candidates, scatter=scatter, half_lit=job.half_lit, skipped=skipped, **of_all
    )


def _anchored(job: Job, found: _Found, candidates: np.ndarray, scatter: float | None) -> _Found:
    """Return the summaries with a brightness near the steps of the traces, where the model contradicts most traces.

    Levels of such traces are split: the likeliest brightness is then a fraction of that of an emitter, the smaller the
    more candidates there are. The traces remain doubtful, unless the other fit is likelier: the first had missed it.
    """
    step = median_step(job.seen, job.intensity)
    low, high = step / STEP_BELOW, step * STEP_ABOVE
    mu = float(np.median(found["parameters"][:, 0, 0]))
    if getattr(job.ranges, "mu_range", None) or _share_doubtful(found) <= MOST_DOUBTFUL or not (mu < low or mu > high):
        return found
    bounds = job.bounds()
    bounds[0] = low, high
    fitted = _pooled(job, candidates, scatter, bounds)
    if fitted is None:
        return found
    other = _summaries(job, fitted[0], candidates, True)
    evidence = [log_evidence(each["log_likelihoods"], candidates).sum() for each in (found, other)]
    if evidence[1] > evidence[0]:
        return other
    other["doubtful"][:] = True
    other["doubts"] = np.where(other["doubts"] == "", "shared", other["doubts"])
    interval = credible_interval(other["posterior"], candidates)
    other["credible_interval"] = widened(interval, other["y"], other["doubtful"], candidates)
    return other


def _over_rates(job: Job, found: _Found, candidates: np.ndarray) -> _Found:
    """Return the summaries with intervals that hold where rates of coming on differ between traces, by up to 30 %.

    As far as the traces do not deny it; where they say so, numbers are doubtful.
    """
    rates = None
    if not found["doubtful"].all():
        rates = rate_scatter(job.x, found["parameters"][:, 0], job.model(candidates), job.threads)
    if rates is None:
        return found
    reasons = np.where((found["doubts"] == "") & rates.told, "rates", found["doubts"])
    interval = joined(found["credible_interval"], credible_interval(rates.posterior, candidates))
    interval = widened(interval, found["y"], reasons != "", candidates)
    told = {"doubts": reasons, "doubtful": reasons != "", "credible_interval": interval}
    return found | told | {"flat": is_flat(interval, candidates)}


def _integrated(job: Job, found: _Found, candidates: np.ndarray, scatter: float) -> _Found:
    """Return the summaries under a model of frames lit in part, where there are such frames, or those found."""
    share = _share_doubtful(found)
    if job.bleaching or job.hyper.max_x is not None or not (job.half_lit or share > MOST_DOUBTFUL):
        return found
    start = np.median(found["parameters"][:, 0], axis=0)
    step = median_step(job.seen, job.intensity)
    exposed = fit_exposed(job.seen, start, step, scatter, job.model(candidates), job.search(job.bounds()))
    if exposed is None:
        return found
    each = np.repeat(exposed.parameters[:, None], len(candidates), axis=1)
    logs = exposed.logs(job.seen, job.threads)
    other = _summaries(job, _Fit(each, logs, posterior(logs, candidates), exposed), candidates, True)
    return other if _share_doubtful(other) <= max(share, MOST_DOUBTFUL) else found


def _share_doubtful(found: _Found) -> float:
    """Return the share of doubtful traces among those with emitters."""
    return float(np.mean(found["doubtful"][found["y"] > 0])) if (found["y"] > 0).any() else 0.0


def _summaries(job: Job, fit: _Fit, candidates: np.ndarray, pooled: bool) -> _Found:
    """Return the posterior summaries of each trace, by field of Counts."""
    parameters, logs, probabilities, exposed = fit
    traces, best = np.arange(len(logs)), probabilities.argmax(1)
    y, chosen = candidates[best], parameters[traces, best]
    states = np.array([job.viterbi(n, k, chosen[n]) for n, k in enumerate(y.tolist())])
    under_best = posterior(logs, candidates).argmax(1)  # numbers and parameters that belong together
    likely, chosen = candidates[under_best], parameters[traces, under_best]
    integrated = job.half_lit > 0 if exposed is None else exposed.residuals(job.seen, likely)
    reasons = doubts(job.x, likely, chosen, job.model(candidates), pooled, integrated)
    interval = widened(credible_interval(probabilities, candidates), y, reasons != "", candidates)
    unknown = np.isin(candidates, 0) & (not pooled)
    parameters = np.where(unknown[:, None] & np.isin(range(6), UNKNOWN_AT_0), np.nan, parameters)
    return {
        "y": y,
        "parameters": parameters,
        "log_likelihoods": logs,
        "posterior": probabilities,
        "credible_interval": interval,
        "flat": is_flat(interval, candidates),
        "states": states,
        "doubtful": reasons != "",
        "doubts": reasons,
    }


def estimate_parameters(
    traces: Any,
    y: int | np.ndarray,
    parameter_ranges: ParameterRanges | None = None,
    hyper_parameters: HyperParameters | None = None,
    *,
    model: TraceModel = TraceModel(),
    threads: int = 0,
) -> tuple[Parameters, np.ndarray]:
    """Return the maximum-likelihood parameters (n,) of each trace (n, t) with y emitters, and log-likelihoods (n,).

    Skipped traces have NaN. Raises FrameError and ConfigError as `estimate_y`. The name `y` is blinx's.
    """
    checked, skipped = _checked(traces, model)
    numbers = np.broadcast_to(np.asarray(y), len(checked))
    if numbers.dtype.kind not in "iu" or (numbers < 1).any() or (numbers > 50).any():
        raise ConfigError(f"estimate_parameters: y is an integer from 1 to 50 for each trace, found {y!r}")
    good = [n for n in range(len(checked)) if n not in skipped]
    hyper = hyper_parameters or HyperParameters()
    parameters, logs = np.empty((len(good), 6)), np.empty(len(good))
    for number in np.unique(numbers[good]).tolist():
        mine = np.flatnonzero(numbers[good] == number)
        job = Job(checked[good][mine].T, model, parameter_ranges, hyper, threads).leave_out_half_lit()
        parameters[mine], logs[mine] = job.fit(number)
    return Parameters.of(_with_skipped(parameters, good, len(checked))), _with_skipped(logs, good, len(checked))


def log_likelihood(
    traces: Any,
    emitters: int,
    parameters: Parameters,
    hyper_parameters: HyperParameters | None = None,
    *,
    emission: Emission = "lognormal",
    camera: Camera | None = None,
) -> np.ndarray:
    """Return log P(trace | emitters, parameters) (n,) of traces (n, t), for intensity bins of max_x / num_x_bins.

    With `max_x` the emission is integrated over each bin, as in blinx; without, it is the density times the bin width.
    Emitters bleach if p_bleach > 0. Raises FrameError and ConfigError.
    """
    theta = parameters.array()
    model = TraceModel(emission, camera, bool(np.any(theta[..., 5] > 0)))
    checked, skipped = _checked(traces, model)
    good = [n for n in range(len(checked)) if n not in skipped]
    job = Job(checked[good].T, model, None, hyper_parameters or HyperParameters(), 1)
    each = np.broadcast_to(theta, (len(checked), 6))[good]
    return _with_skipped(job.logs(each, np.array([emitters]))[:, 0], good, len(checked))


def _pooled(
    job: Job, candidates: np.ndarray, scatter: float | None, bounds: np.ndarray | None = None
) -> tuple[_Fit, float] | None:
    """Return the fit of parameters that all traces share, the same for every candidate, and the scatter of brightness.

    None: no parameters explain the traces.
    The posterior is that over all parameters, not the one under the best.
    """
    model, search = job.model(candidates), job.search(job.bounds() if bounds is None else bounds)
    found = fit_pooled(job.x, job.intensity, model, search, scatter)
    if found is None:
        return None
    factors = Factors(job.x, found.scatter, model, job.threads)
    best = of_each(found.parameters, factors.under(found.parameters))
    logs = log_posterior(factors, found, model, search, DRAWS, lambda each: job.logs(each, candidates))
    every = np.repeat(best[:, None], len(candidates), axis=1)
    return _Fit(every, job.logs(best, candidates), np.exp(logs)), found.scatter


def _alone(job: Job, candidates: np.ndarray, report: Progress) -> _Fit:
    """Return the fit of each trace on its own."""
    count = job.x.shape[1]
    parameters, logs = np.empty((count, len(candidates), 6)), np.empty((count, len(candidates)))
    for k, emitters in enumerate(candidates.tolist()):
        parameters[:, k], logs[:, k] = job.fit(emitters)
        report(k + 1, len(candidates))
    return _Fit(parameters, logs, posterior(logs, candidates))


def _checked(traces: Any, model: TraceModel) -> tuple[np.ndarray, dict[int, str]]:
    """Return the traces (n, t), and the errors of those that cannot be counted. Raises FrameError if none can."""
    if model.emission not in ("lognormal", "camera"):
        raise ConfigError(f"emission is 'lognormal' or 'camera', found {model.emission!r}")
    array = np.atleast_2d(np.asarray(traces))
    if array.ndim != 2 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise FrameError(f"counting: traces are numbers (n, t), found {array.shape} {array.dtype}")
    array = array.astype(float)
    least = min_frames(model.bleaching)
    if array.shape[1] < least:
        raise FrameError(
            f"counting: trace 0 has {array.shape[1]} frames; at least {least} are needed for {least - 1} parameters"
            f"{' with bleaching' if model.bleaching else ''}"
        )
    offset = scalars(model.camera)[0] if model.emission == "camera" else 0.0
    wrong = {n: reason for n, trace in enumerate(array) if (reason := trace_error(trace, model.emission, offset))}
    good = [n for n in range(len(array)) if n not in wrong]
    if good and model.emission == "camera":
        offset, gain, _ = scalars(model.camera)
        reason = shot_noise_error((array[good].T - offset) * gain)
        if reason:
            raise FrameError(f"counting: {reason}")
    if len(wrong) == len(array):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise FrameError(f"counting: trace {min(wrong)} {wrong[min(wrong)]}{more}")
    for n, reason in wrong.items():
        log.warning("counting: trace %d %s; it is skipped", n, reason)
    return array, wrong


def _with_skipped(array: np.ndarray, good: list[int], count: int) -> np.ndarray:
    """Return an array over all traces from one over the good ones: NaN, 0, False or '' for those skipped."""
    nothing = {"f": np.nan, "U": ""}.get(array.dtype.kind, 0)
    every = np.full((count, *array.shape[1:]), nothing, array.dtype)
    every[good] = array
    return every
