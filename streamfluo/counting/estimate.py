"""How many fluorophores a blinking intensity trace is made of, for traces in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np

from ..core.errors import ConfigError, FrameError
from ..core.spec import Camera
from .bounds import least_frames, ranges_of, what_is_wrong
from .fit import Search, fit_factors, fit_pooled
from .fit_alone import fit_alone
from .kernels.crosschecks import credible_interval, is_flat, posterior
from .kernels.likelihood import EmitterModel, binned_logs, evaluate
from .parameters import HyperParameters, ParameterRanges, Parameters
from .viterbi import likely_path

Emission = Literal["lognormal", "camera"]
Progress = Callable[[int, int], None]
log = logging.getLogger("streamfluo")


@dataclass(frozen=True)
class Counts:
    """What `estimate_y` found of n traces; unpacks as (y, parameters, log_likelihoods).

    `y` (n,): the likeliest number, 0 where a trace was skipped; `parameters`: arrays (n, candidates);
    `log_likelihoods`, `posterior` (n, candidates); `candidates`: min_y … max_y; `credible_interval` (n, 2): 90 %;
    `flat` (n,): True where the data cannot tell; `doubtful` (n,): the states are not occupied as the parameters say;
    `states` (n, t): how many were on, along the likeliest path; `scatter`: of brightness between traces (1 sd,
    relative); `skipped`: reason by number of the trace.
    """

    y: np.ndarray
    parameters: Parameters
    log_likelihoods: np.ndarray
    posterior: np.ndarray
    candidates: np.ndarray
    credible_interval: np.ndarray
    flat: np.ndarray
    doubtful: np.ndarray
    states: np.ndarray
    scatter: float
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
    threads: int = 0,
    progress: Progress | None = None,
) -> Counts:
    """Return how many fluorophores each trace (n, t) is made of, with what is known of it besides.

    pooled: brightness and kinetics are those of all traces, times a factor of each trace's own brightness that scatters
    by `brightness_scatter` (None: estimated, 0: none); None: pooled where there are several. camera: for traces in ADU
    under the camera emission; without it they are electrons. threads: 0 for all cores. Cost of 1000 frames, max_y = 10:
    0.02 to 0.15 CPU s a trace pooled, 0.35 alone. Raises FrameError for traces, ConfigError for settings; of many
    traces those that are bad are skipped and reported. (Rabiner 1989; the model and the settings are blinx's.)
    """
    hyper = hyper_parameters or HyperParameters()
    if not (isinstance(max_y, int | np.integer) and hyper.min_y <= max_y <= 50):
        raise ConfigError(f"estimate_y: max_y is a whole number from min_y = {hyper.min_y} to 50, found {max_y!r}")
    given, skipped = _checked(traces, emission, camera, bleaching)
    good = [n for n in range(len(given)) if n not in skipped]
    candidates = np.arange(hyper.min_y, int(max_y) + 1)
    job = _Job(given[good].T, emission, camera, bleaching, parameter_ranges, hyper, threads)
    tell = progress or (lambda done, of: None)
    if len(good) > 1 if pooled is None else pooled:
        parameters, scatter = _pooled(job, candidates, brightness_scatter)
        logs = job.logs(parameters[:, 0], candidates)
    else:
        parameters, logs, scatter = *_alone(job, candidates, tell), 0.0
    tell(len(good), len(good))
    found = _described(job, parameters, logs, candidates)
    whole = {name: _put_back(array, good, len(given)) for name, array in found.items()}
    every = Parameters.of(whole.pop("parameters"))
    return Counts(parameters=every, candidates=candidates, scatter=scatter, skipped=skipped, **whole)


def _described(job: _Job, parameters: np.ndarray, logs: np.ndarray, candidates: np.ndarray) -> dict[str, np.ndarray]:
    """What the log-likelihoods say of each trace."""
    best = logs.argmax(1)
    y, chosen = candidates[best], parameters[np.arange(len(best)), best]
    states = np.array([job.path(n, k, chosen[n]) for n, k in enumerate(y.tolist())])
    chances = posterior(logs)
    interval = credible_interval(chances, candidates)
    return {
        "y": y,
        "parameters": parameters,
        "log_likelihoods": logs,
        "posterior": chances,
        "credible_interval": interval,
        "flat": is_flat(interval, candidates),
        "states": states,
        "doubtful": _doubtful(states, y, chosen, job.bleaching, job.hyper.distribution_threshold),
    }


def estimate_parameters(
    traces: Any,
    y: int | np.ndarray,
    parameter_ranges: ParameterRanges | None = None,
    hyper_parameters: HyperParameters | None = None,
    *,
    emission: Emission = "lognormal",
    camera: Camera | None = None,
    bleaching: bool = False,
    threads: int = 0,
) -> tuple[Parameters, np.ndarray]:
    """Return the likeliest parameters of each trace (n, t) that has y emitters, arrays (n,), and log-likelihoods (n,).

    Raises FrameError and ConfigError as `estimate_y`; skipped traces have NaN.
    """
    given, skipped = _checked(traces, emission, camera, bleaching)
    numbers = np.broadcast_to(np.asarray(y), len(given))
    if numbers.dtype.kind not in "iu" or (numbers < 1).any() or (numbers > 50).any():
        raise ConfigError(f"estimate_parameters: y is a whole number from 1 to 50 for each trace, found {y!r}")
    good = [n for n in range(len(given)) if n not in skipped]
    hyper = hyper_parameters or HyperParameters()
    parameters, logs = np.empty((len(good), 6)), np.empty(len(good))
    for number in np.unique(numbers[good]).tolist():
        mine = np.flatnonzero(numbers[good] == number)
        job = _Job(given[good][mine].T, emission, camera, bleaching, parameter_ranges, hyper, threads)
        parameters[mine], logs[mine] = job.fit(number)
    return Parameters.of(_put_back(parameters, good, len(given))), _put_back(logs, good, len(given))


def log_likelihood(
    traces: Any,
    y: int,
    parameters: Parameters,
    hyper_parameters: HyperParameters | None = None,
    *,
    emission: Emission = "lognormal",
    camera: Camera | None = None,
) -> np.ndarray:
    """Return log P(trace | y, parameters) (n,) of traces (n, t), in probabilities of bins of max_x / num_x_bins.

    Under a given max_x the light of a bin is integrated over it, as blinx has it; else it is its density times the
    width. Raises FrameError and ConfigError.
    """
    theta = parameters.array()
    bleaching = bool(np.any(theta[..., 5] > 0))
    given, skipped = _checked(traces, emission, camera, bleaching)
    good = [n for n in range(len(given)) if n not in skipped]
    job = _Job(given[good].T, emission, camera, bleaching, None, hyper_parameters or HyperParameters(), 1)
    each = np.broadcast_to(theta, (len(given), 6))[good]
    return _put_back(job.logs(each, np.array([y]))[:, 0], good, len(given))


class _Job:
    """Traces (t, n) as the kernels take them, with what the user has settled."""

    def __init__(
        self, given: np.ndarray, emission: Emission, camera: Camera | None, bleaching: bool,
        ranges: ParameterRanges | None, hyper: HyperParameters, threads: int,
    ) -> None:  # fmt: skip
        self.camera, self.bleaching, self.hyper, self.threads = emission == "camera", bleaching, hyper, threads
        offset, gain, read_e = _numbers(camera)
        width = (hyper.max_x or float(np.abs(given).max())) / hyper.num_x_bins
        self.edges = (np.floor(given / width) * width - offset) * gain
        if hyper.max_x is not None:
            given = (np.floor(given / width) + 0.5) * width
        self.intensity = (given - offset) * gain
        self.x = self.intensity if self.camera else np.log(self.intensity)
        self.width, self.ranges, self._read_e = width * gain, ranges, read_e

    def model(self, candidates: np.ndarray) -> EmitterModel:
        low, high = int(candidates[0]), int(candidates[-1])
        hyper = self.hyper
        return EmitterModel(self.camera, self.bleaching, low, high, self.width, hyper.num_x_bins, hyper.p_outlier)

    def search(self, bounds: np.ndarray) -> Search:
        """How to fit within `bounds` (…, 6, 2), where the user has not given others."""
        steps: list[int | None] = [None] * 6
        for k, name in enumerate(("mu", "mu_bg", "sigma", "p_on", "p_off", "p_bleach")):
            asked = getattr(self.ranges, f"{name}_range", None)
            if asked is not None:
                bounds[..., k, :] = asked
            steps[k] = getattr(self.ranges, f"{name}_step", None)
        guesses = None
        if any(steps):
            widest = np.stack([bounds[..., 0].reshape(-1, 6).min(0), bounds[..., 1].reshape(-1, 6).max(0)], axis=1)
            axes = [np.linspace(b[0], b[1], s) if s and s > 1 else b.mean(keepdims=True)
                    for b, s in zip(widest, steps, strict=True)]  # fmt: skip
            guesses = np.array(list(product(*axes)))
        hyper = self.hyper
        return Search(
            bounds, hyper.num_guesses, guesses, hyper.epoch_length, hyper.is_done_limit, hyper.traces, self.threads
        )

    def bounds(self) -> np.ndarray:
        """Ranges that all traces together leave open."""
        return ranges_of(self.intensity, self.camera, self.bleaching, self._read_e)

    def fit(self, y: int) -> tuple[np.ndarray, np.ndarray]:
        """Parameters (n, 6) and log-likelihoods (n,) of y emitters, each trace by itself."""
        each = [ranges_of(trace[:, None], self.camera, self.bleaching, self._read_e) for trace in self.intensity.T]
        numbers = np.array([y])
        parameters, logs = fit_alone(self.x, self.intensity, self.model(numbers), self.search(np.array(each)))
        return parameters, logs if self.hyper.max_x is None else self.logs(parameters, numbers)[:, 0]

    def logs(self, parameters: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """log P (n, candidates) under each trace's parameters (n, 6)."""
        model = self.model(candidates)
        if self.hyper.max_x is not None:
            return np.asarray(binned_logs(self.edges, parameters, model))
        return np.asarray(evaluate(self.x, parameters, model, False, self.threads)[0])

    def path(self, n: int, y: int, parameters: np.ndarray) -> np.ndarray:
        return np.asarray(likely_path(self.x[:, n], y, parameters, self.model(np.array([y]))))


def _pooled(job: _Job, candidates: np.ndarray, scatter: float | None) -> tuple[np.ndarray, float]:
    """Parameters (n, candidates, 6), the same for every candidate, and how much brightness scatters."""
    model = job.model(candidates)
    found = fit_pooled(job.x, job.intensity, model, job.search(job.bounds()), scatter)
    each = np.tile(found.parameters, (job.x.shape[1], 1))
    if found.scatter:
        each[:, 0] *= np.exp(fit_factors(job.x, found.parameters, model, found.scatter, job.threads))
    return np.repeat(each[:, None], len(candidates), axis=1), found.scatter


def _alone(job: _Job, candidates: np.ndarray, tell: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (n, candidates, 6) and log-likelihoods (n, candidates), each trace by itself."""
    count = job.x.shape[1]
    parameters, logs = np.empty((count, len(candidates), 6)), np.empty((count, len(candidates)))
    for k, y in enumerate(candidates):
        parameters[:, k], logs[:, k] = job.fit(int(y))
        tell(k + 1, len(candidates))
    return parameters, logs


def _checked(traces: Any, emission: str, camera: Camera | None, bleaching: bool) -> tuple[np.ndarray, dict[int, str]]:
    """The traces (n, t), and what is wrong with those that cannot be counted. Raises if none can."""
    if emission not in ("lognormal", "camera"):
        raise ConfigError(f"emission is 'lognormal' or 'camera', found {emission!r}")
    given = np.atleast_2d(np.asarray(traces))
    if given.ndim != 2 or given.dtype.kind not in "biuf" or 0 in given.shape:
        raise FrameError(f"counting: traces are numbers (n, t), found {given.shape} {given.dtype}")
    given = given.astype(float)
    least = least_frames(bleaching)
    if given.shape[1] < least:
        raise FrameError(
            f"counting: trace 0 has {given.shape[1]} frames, {least} at least are needed for {least - 1} parameters"
            f"{' with bleaching' if bleaching else ''}"
        )
    offset = _numbers(camera)[0] if emission == "camera" else 0.0
    wrong = {n: reason for n, trace in enumerate(given) if (reason := what_is_wrong(trace, emission, offset))}
    if len(wrong) == len(given):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise FrameError(f"counting: trace {min(wrong)} {wrong[min(wrong)]}{more}")
    for n, reason in wrong.items():
        log.warning("counting: trace %d %s; it is skipped", n, reason)
    return given, wrong


def _numbers(camera: Camera | None) -> tuple[float, float, float | None]:
    """Offset [ADU], gain [e/ADU] and read noise [e] of a camera, one for all pixels."""
    if camera is None:
        return 0.0, 1.0, None
    values = (camera.offset_adu, camera.gain_e_per_adu, camera.read_noise_e)
    if camera.gain_e_per_adu is None or any(np.size(v) > 1 for v in values if v is not None):
        raise ConfigError(
            "counting: camera needs gain_e_per_adu, and numbers instead of maps, as a trace has no pixels"
        )
    offset, gain, read_e = (None if v is None else float(np.asarray(v).item()) for v in values)
    return offset or 0.0, gain or 1.0, read_e


def _doubtful(
    states: np.ndarray, y: np.ndarray, parameters: np.ndarray, bleaching: bool, threshold: float
) -> np.ndarray:
    """Where the states along the path are occupied otherwise than in equilibrium; never told under bleaching."""
    if bleaching:
        return np.zeros(len(y), bool)
    far = partial(_distance, frames=states.shape[1])
    return np.array([far(s, k, p) > threshold for s, k, p in zip(states, y.tolist(), parameters, strict=True)])


def _distance(states: np.ndarray, y: int, parameters: np.ndarray, frames: int) -> float:
    """Total variation between the occupancy of 0 … y and the binomial one."""
    part = parameters[3] / (parameters[3] + parameters[4])
    chance = np.array([1.0])
    for _ in range(y):
        chance = np.convolve(chance, [1 - part, part])
    return float(np.abs(np.bincount(states, minlength=y + 1) / frames - chance).sum() / 2)


def _put_back(array: np.ndarray, good: list[int], count: int) -> np.ndarray:
    """Rows of the good traces among all; NaN, 0 or False elsewhere."""
    whole = np.full((count, *array.shape[1:]), np.nan if array.dtype.kind == "f" else 0, array.dtype)
    whole[good] = array
    return whole
