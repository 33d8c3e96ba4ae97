"""Traces with the model and the options of their fit."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..core.errors import ConfigError
from ..core.spec import Camera
from .bounds import parameter_bounds, without_extremes
from .fit import Search
from .fit_alone import fit_alone
from .half_lit import half_lit
from .kernels.likelihood import EmitterModel, binned_logs, evaluate
from .parameters import HyperParameters, ParameterRanges, TraceModel
from .viterbi import viterbi_states


class Job:
    """Traces (t, n) in the kernels' units, with the model and the options of the fit."""

    def __init__(
        self,
        traces: np.ndarray,
        model: TraceModel,
        ranges: ParameterRanges | None,
        hyper: HyperParameters,
        threads: int,
    ) -> None:
        self.camera, self.bleaching, self.hyper = model.emission == "camera", model.bleaching, hyper
        self.threads = threads
        traces = without_extremes(traces)
        offset, gain, read_e = scalars(model.camera)
        width = (hyper.max_x or float(np.abs(traces).max())) / hyper.num_x_bins
        self.edges = (np.floor(traces / width) * width - offset) * gain
        if hyper.max_x is not None:
            traces = (np.floor(traces / width) + 0.5) * width
        self.intensity = (traces - offset) * gain
        self.x = self.intensity if self.camera else np.log(self.intensity)
        self.width, self.ranges, self._read_e = width * gain, ranges, read_e

    def leave_out_half_lit(self) -> Job:
        """Take frames within which emitters switched for not measured; return self."""
        found = half_lit(self.x, self.intensity)
        self.half_lit, self.seen = float(found.mean()), self.x
        self.x, self.edges = np.where(found, np.nan, self.x), np.where(found, np.nan, self.edges)
        return self

    def model(self, candidates: np.ndarray) -> EmitterModel:
        """Return the model of candidate numbers of emitters that follow one another."""
        low, high = int(candidates[0]), int(candidates[-1])
        hyper = self.hyper
        return EmitterModel(self.camera, self.bleaching, low, high, self.width, hyper.num_x_bins, hyper.p_outlier)

    def search(self, bounds: np.ndarray) -> Search:
        """Return a Search within `bounds` (…, 6, 2), replaced by the user's ranges where there are any."""
        steps: list[int | None] = [None] * 6
        for k, name in enumerate(("mu", "mu_bg", "sigma", "p_on", "p_off", "p_bleach")):
            stated = getattr(self.ranges, f"{name}_range", None)
            if stated is not None:
                bounds[..., k, :] = stated
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
        """Return the bounds (6, 2) of parameters that all traces share."""
        return parameter_bounds(self.intensity, self.camera, self.bleaching, self._read_e)

    def fit(self, emitters: int) -> tuple[np.ndarray, np.ndarray]:
        """Return parameters (n, 6) and log-likelihoods (n,) of each trace on its own."""
        each = [
            parameter_bounds(trace[:, None], self.camera, self.bleaching, self._read_e) for trace in self.intensity.T
        ]
        numbers = np.array([emitters])
        parameters, logs = fit_alone(self.x, self.intensity, self.model(numbers), self.search(np.array(each)))
        return parameters, logs if self.hyper.max_x is None else self.logs(parameters, numbers)[:, 0]

    def logs(self, parameters: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return log P (n, candidates) under each trace's parameters (n, 6)."""
        model = self.model(candidates)
        if self.hyper.max_x is not None:
            return np.asarray(binned_logs(self.edges, parameters, model))
        return np.asarray(evaluate(self.x, parameters, model, False, self.threads)[0])

    def viterbi(self, n: int, emitters: int, parameters: np.ndarray) -> np.ndarray:
        """Return the most likely number of emitters on (t,) in trace n."""
        return np.asarray(viterbi_states(self.x[:, n], emitters, parameters, self.model(np.array([emitters]))))


def scalars(camera: Camera | None) -> tuple[float, float, float | None]:
    """Return the offset [ADU], gain [e/ADU] and read noise [e] of a camera. Raises ConfigError for maps."""
    if camera is None:
        return 0.0, 1.0, None
    values = (camera.offset_adu, camera.gain_e_per_adu, camera.read_noise_e)
    if camera.gain_e_per_adu is None or any(np.size(v) > 1 for v in values if v is not None):
        raise ConfigError("counting: camera needs gain_e_per_adu, and scalars instead of maps: a trace has no pixels")
    offset, gain, read_e = (None if v is None else float(np.asarray(v).item()) for v in values)
    return offset or 0.0, gain or 1.0, read_e
