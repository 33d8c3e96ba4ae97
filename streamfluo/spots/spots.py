"""Spots while frames arrive: found, fitted, and their photons integrated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError
from ..core.operator import NO_VALUES, Gives, Operator, Output, Table, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State
from .detection_passes import RunningMean, rates_of_looks
from .histogram import PhotonHistogram
from .kernels.detection import MAX_RATE, new_search
from .kernels.frames import (
    CHI2,
    COLUMNS,
    ERROR,
    FLAGS,
    FRAME,
    LIGHT,
    PHOTONS,
    SIGMA_X,
    SIGMA_Y,
    SPOT,
    X_ERROR,
    Y_ERROR,
    X,
    Y,
    detect_and_measure,
)
from .kernels.known_places import measure_known
from .kernels.thresholds import thresholds
from .localisations import Localisations
from .params import SpotsParams, both_widths, camera_of, camera_of_file, method_of, sensor_of, shape_of
from .places import given_places, neighbours_of, places_of_file
from .spline import spline_of_file

_COLUMNS = {
    "y_px": Y, "x_px": X, "sigma_px": SIGMA_Y, "photons": PHOTONS, "error": ERROR, "background": LIGHT, "chi2": CHI2,
    "y_error_px": Y_ERROR, "x_error_px": X_ERROR,
}  # fmt: skip
_TABLE = ("frame", "spot", *_COLUMNS, "flags")
# Kernels compiled for float32 alone are ready seven times as soon; fresh memory for 32 frames costs .4 rfft2 each.
_CONVERTED_BYTES = 8 << 20
Run = tuple[np.ndarray, np.ndarray, np.ndarray]  # values (4, t, n), flags (t, n), places (t, n, 2)
_TWO_WIDTHS = ("sigma_y_px", "sigma_x_px")
_MEANING = (
    "spots of each frame; error of photons, background per pixel, χ² over the degrees of freedom, flags: 1 crop cut by "
    "the border, 2 saturated, 4 measured with its neighbours, 8 fit not converged, 16 outside, 32 too faint for a width"
)


@register("spots")
class Spots(Operator):
    """Photons of diffraction-limited spots, with their error and χ².

    Detected in each frame: a matched filter with a stated false-alarm rate (kernels/spot_detection.py), then place,
    width, photons and background by maximum likelihood (kernels/spot_fits.py), neighbours together. At known places,
    given or found on running means: photons of every frame, as `photons` (t, n), by the methods of `integrate_crops`.
    Light is in photons where the camera's gain and offset are known (detected ones where its QE is not), else in ADU
    with χ² NaN and errors from residuals. Cost at 512 × 512 with 200 spots: 4 rfft2 of the frame, known places 0.7;
    state: a histogram, with detect "mean" also one map.
    """

    Params = SpotsParams
    from_file = {"spots": places_of_file, "spline": spline_of_file, "camera": camera_of_file}
    results = {"localisations": Localisations}
    gives: tuple[Gives, ...] = (
        Gives("spots", "table", _TABLE, "", _MEANING),
        Gives("photons", "by_id", ("t", "n"), "photons", "of each spot at a known place"),
        Gives("photons_error", "by_id", ("t", "n"), "photons", "their standard error"),
        Gives("count", "per_frame", ("t",), "", "number of spots"),
        Gives("photons_bins", "snapshot", ("photons_bins",), "photons", "middles of the histogram's bins"),
        Gives("photons_histogram", "snapshot", ("photons_bins",), "", "measurements with so many photons, so far"),
        Gives("looked_at", "snapshot", ("y", "x"), "ADU", "the mean that spots are found on"),
    )
    examples = (
        {"detect": "mean", "mean_frames": 20, "false_alarms": 100.0, "crop_px": 7},
        {"spots": [[6.2, 7.9], [3.0, 4.0], [6.0, 11.5], [0.0, 16.2]], "crop_px": 7, "method": "weighted"},
        {"fit": "phasor", "false_alarms": 100.0, "crop_px": 7, "method": "border", "fit_sigma": False},
        {"model": "gauss", "sigma_px": (1.2, 1.5), "false_alarms": 100.0, "crop_px": 7},
    )

    def __init__(self, params: SpotsParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        known = params.spots is not None
        if known and params.detect is not None:
            raise ConfigError("spots: either spots are given, or detect says how they are found")
        if params.drift and not known:
            raise ConfigError("spots: drift moves spots that are given; for others let motion hand on its frames")
        self._widths, camera = both_widths(params), camera_of(params, spec)
        self._settings, self._shape = method_of(params), shape_of(params, spec, known)
        self._sensor, self._qe = sensor_of(camera, spec), np.asarray(1.0 if camera.qe is None else camera.qe)
        self._places = given_places(params.spots, spec) if known else None
        mean = params.detect == "mean"
        self._search = new_search(spec.shape, self._sigma, params.false_alarms)
        self._rows = np.empty((1024, COLUMNS))
        self._frames = np.empty(
            (max(1, _CONVERTED_BYTES // (4 * spec.shape[0] * spec.shape[1])), *spec.shape), np.float32
        )
        self._means = self._new_means() if mean else None
        self._neighbours = neighbours_of(self._kept, params.crop_px, max(self._widths))
        self._histogram = PhotonHistogram()
        self.needs = ("shift_px",) if params.drift else ()
        self.gives = self._given(known, mean, camera.gain_e_per_adu is None)
        self._compile()

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        if self._places is None and self._means is None:
            return self._found(block)
        shifts, runs = self._shifts(block, inputs), []
        for start, frames in self._converted(block.pixels):
            part = shifts[start : start + len(frames)]
            runs += [self._measured(frames, part)] if self._means is None else self._looked(frames, part)
        return self._at_known(block, *self._joined(runs))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        held = {"photons_bins": self._histogram.photons(), "photons_histogram": self._histogram.counts.astype(float)}
        if self._means is not None:
            held["looked_at"] = self._means.mean()
        return {name: held[name] for name in self.snapshot_names(names)}

    def state(self) -> State:
        return {**self._histogram.state(), **(self._means.state() if self._means is not None else {})}

    def restore(self, state: State) -> None:
        self._histogram.restore(state)
        if self._means is not None:
            self._means.restore(state)
            self._neighbours = neighbours_of(self._kept, self.params.crop_px, max(self._widths))

    def _converted(self, pixels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield frames as float32, some at a time in memory that is used again, each with the number of its first."""
        for start in range(0, len(pixels), len(self._frames)):
            part = self._frames[: len(pixels) - start]
            part[:] = pixels[start : start + len(part)]
            yield start, part

    # Spots of single frames

    def _found(self, block: Block) -> Output:
        """Detect, fit and integrate the spots of each frame."""
        parts = []
        for start, frames in self._converted(block.pixels):
            rows = detect_and_measure(frames, self._sensor, self._search, self._settings, self._shape, self._rows)
            rows[:, FRAME] += start
            parts.append(rows.copy())
        rows = np.concatenate(parts)
        frame = rows[:, FRAME].astype(np.int64)
        qe = self._qe_at(rows[:, Y], rows[:, X])
        columns = {name: rows[:, place].copy() for name, place in _COLUMNS.items()}
        for name in ("photons", "error", "background"):
            columns[name] /= qe
        if self.params.model == "gauss":
            columns["sigma_px"] = np.sqrt(rows[:, SIGMA_Y] * rows[:, SIGMA_X])
            columns |= {"sigma_y_px": rows[:, SIGMA_Y].copy(), "sigma_x_px": rows[:, SIGMA_X].copy()}
        flags = rows[:, FLAGS].astype(np.int64)
        table = Table({"frame": block.index + frame, "spot": rows[:, SPOT].astype(np.int64), **columns, "flags": flags})
        self._histogram.add(columns["photons"])
        return Output(block.index, {"spots": table, "count": np.bincount(frame, minlength=len(block)).astype(float)})

    # Spots at known places

    @property
    def _kept(self) -> np.ndarray:
        """Places (n, 3) of the spots that are known by now."""
        if self._means is not None:
            return self._means.places
        return self._places if self._places is not None else np.empty((0, 3))

    def _measured(self, frames: np.ndarray, shifts: np.ndarray) -> Run:
        """Photons, error, background and χ² (4, t, n), flags (t, n) and places (t, n, 2) of the known spots."""
        values = np.empty((4, len(frames), len(self._kept)))
        flags = np.zeros(values.shape[1:], np.int64)
        measure_known(
            frames, self._sensor, self._kept, shifts, self._neighbours, self._settings, self._shape, values, flags
        )
        return values, flags, self._kept[:, :2] + shifts[:, None]

    def _looked(self, frames: np.ndarray, shifts: np.ndarray) -> list[Run]:
        """The same, in runs between looks, as spots join."""
        assert self._means is not None
        runs, start = [], 0
        for t, frame in enumerate(frames):
            if self._means.add(frame):
                runs.append(self._measured(frames[start:t], shifts[start:t]))
                self._means.look(self._search, self._settings, self._shape, self._rows)
                self._neighbours = neighbours_of(self._kept, self.params.crop_px, max(self._widths))
                start = t
        return [*runs, self._measured(frames[start:], shifts[start:])]

    def _joined(self, runs: list[Run]) -> Run:
        """Runs end to end, with room for all spots known by now; flags are −1 where one was not known yet."""
        late = [(0, len(self._kept) - flags.shape[1]) for _, flags, _ in runs]
        values = [np.pad(run[0], ((0, 0), (0, 0), n)) for run, n in zip(runs, late, strict=True)]
        flags = [np.pad(run[1], ((0, 0), n), constant_values=-1) for run, n in zip(runs, late, strict=True)]
        places = [np.pad(run[2], ((0, 0), n, (0, 0))) for run, n in zip(runs, late, strict=True)]
        return np.concatenate(values, 1), np.concatenate(flags), np.concatenate(places)

    def _at_known(self, block: Block, values: np.ndarray, flags: np.ndarray, places: np.ndarray) -> Output:
        """What is handed out of the known spots: their table, and photons by number, 0 before a spot is known."""
        y, x = np.moveaxis(places, -1, 0)
        values[:3] /= self._qe_at(y, x)
        self._histogram.add(values[0][flags >= 0])
        t, spot = np.nonzero(flags >= 0)
        sigma_y, sigma_x = self._widths
        columns = {
            "frame": block.index + t, "spot": spot, "y_px": y[t, spot], "x_px": x[t, spot],
            "sigma_px": np.full(len(t), np.sqrt(sigma_y * sigma_x)), "photons": values[0, t, spot],
            "error": values[1, t, spot], "background": values[2, t, spot], "chi2": values[3, t, spot],
            "y_error_px": np.full(len(t), np.nan), "x_error_px": np.full(len(t), np.nan),
        }  # fmt: skip
        if self.params.model == "gauss":
            columns |= {"sigma_y_px": np.full(len(t), sigma_y), "sigma_x_px": np.full(len(t), sigma_x)}
        return Output(
            block.index,
            {
                "spots": Table({**columns, "flags": flags[t, spot]}),
                "ids": np.arange(flags.shape[1]),
                "photons": values[0],
                "photons_error": values[1],
                "count": (flags >= 0).sum(1).astype(float),
            },
        )

    def _shifts(self, block: Block, inputs: Values) -> np.ndarray:
        """How far the known spots have moved (t, 2); where a shift is unknown, not at all."""
        if not self.params.drift:
            return np.zeros((len(block), 2))
        if "shift_px" not in inputs:
            raise FrameError("spots: drift = true needs shift_px from a motion step")
        shifts = np.asarray(inputs["shift_px"], float)
        return np.where(np.isfinite(shifts), shifts, 0.0)

    def _qe_at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        if not self._qe.ndim:
            return self._qe
        inside = (np.clip(np.nan_to_num(np.rint(p)), 0, n - 1) for p, n in zip((y, x), self.spec.shape, strict=True))
        return np.asarray(self._qe[tuple(p.astype(int) for p in inside)])

    # How it is set up

    def _new_means(self) -> RunningMean:
        pixels = self.spec.shape[0] * self.spec.shape[1]
        rates = rates_of_looks(min(self.params.false_alarms / pixels, MAX_RATE))
        tables = [thresholds(self._sigma, rate) for rate in rates]
        return RunningMean(self.spec, self._sensor, self.params.mean_frames, max(self._widths), tables)

    @property
    def _sigma(self) -> float:
        """The width of the matched filter [px]."""
        return math.sqrt(self._widths[0] * self._widths[1])

    def _given(self, known: bool, mean: bool, in_adu: bool) -> tuple[Gives, ...]:
        """What this one gives: photons where spots are kept, light in ADU where the gain is unknown."""
        wanted = {"spots", "count", "photons_bins", "photons_histogram"}
        wanted |= {"photons", "photons_error"} if known or mean else set()
        wanted |= {"looked_at"} if mean else set()
        dims = _TABLE + (_TWO_WIDTHS if self.params.model == "gauss" else ())
        given = [replace(g, dims=dims) if g.kind == "table" else g for g in self.gives if g.name in wanted]
        return tuple(replace(g, unit="ADU") if in_adu and g.unit == "photons" else g for g in given)

    def _compile(self) -> None:
        """Run every kernel once on the types that will come."""
        frames = np.zeros((1, *self.spec.shape), np.float32)
        if self._places is None and self._means is None:
            detect_and_measure(frames, self._sensor, self._search, self._settings, self._shape, self._rows)
            return
        if self._means is not None:
            scratch = self._new_means()
            scratch.add(frames[0])
            scratch.look(self._search, self._settings, self._shape, self._rows)
        self._measured(frames, np.zeros((1, 2)))
