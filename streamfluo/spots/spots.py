"""The operator `spots`: localisation and photon integration while the frames arrive."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..core.block import Block
from ..core.card_block import on_device
from ..core.errors import ConfigError, FrameError
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Presents, Table, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State
from ..core.unseen import VALID, known_pixels, valid_frames
from .compile_parts import compile_detection, compile_known, compile_measurement
from .detection_passes import CardDetectionPasses, DetectionPasses, pass_rates
from .doubts import Doubts
from .histogram import PhotonHistogram
from .kernels.detection import MAX_RATE, new_search, search_table
from .kernels.frames import (
    CHI2,
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
)
from .kernels.known_places import KnownSpots
from .kernels.thresholds import thresholds
from .localisations import Localisations
from .localise import Localiser, LocaliserOnCard
from .params import SpotsParams, both_widths, camera_of, camera_of_file, measurement_of
from .places import checked_places, neighbours_of, places_of_file
from .report import measures_of, report_of
from .sensor import background_known, unknown, what_is_unknown
from .spline import spline_of_file

log = logging.getLogger(__name__)

_COLUMNS = {
    "y_px": Y, "x_px": X, "sigma_px": SIGMA_Y, "photons": PHOTONS, "error": ERROR, "background": LIGHT, "chi2": CHI2,
    "y_error_px": Y_ERROR, "x_error_px": X_ERROR,
}  # fmt: skip
_TABLE = ("frame", "spot", *_COLUMNS, "flags")
Run = tuple[np.ndarray, np.ndarray, np.ndarray]  # values (4, t, n), flags (t, n), places (t, n, 2)
_TWO_WIDTHS = ("sigma_y_px", "sigma_x_px")
_MEANING = (
    "spots of each frame; error of photons, background per pixel, χ² over the degrees of freedom, flags: 1 crop cut by "
    "the border, 2 saturated, 4 has neighbours, 8 fit not converged, 16 outside the field, 32 σ fixed as too faint, "
    "64 light beside it that it does not explain, 128 background below zero: the offset is wrong, errors unknown"
)


@register("spots")
class Spots(Mergeable):
    """Localisations and photon counts of diffraction-limited spots, with standard errors and χ².

    Spots are detected in each frame by a matched filter with a stated false-alarm rate (kernels/detection.py); then
    position, σ, photons and background are fitted by maximum likelihood (kernels/fits.py), neighbours together. At
    known positions, stated or detected on running means, the photons of every frame, as `photons` (t, n), by the
    methods of `integrate_crops`. Light is in photons where the camera's gain is known (in electrons where its QE is
    not), else in ADU. Without its offset or read noise χ² is NaN and errors follow from the residuals; with a gain and
    no offset `background` is NaN. `status` says what in the frames speaks against the camera's numbers or against the
    false-alarm rate. Cost at 512 × 512 with 200 spots: 3 rfft2 of the frame, known positions 0.7; state: a histogram
    and a map, with detect "mean" another. Nothing is found in pixels that are NaN, nor in frames that are not valid:
    there `photons` is NaN.
    """

    version = 5  # 4: frames are compared with the camera by their index, which parts share; 5: fits end earlier
    devices = ("cpu", "gpu")
    twin_tolerance = 1e-7  # of places that nothing is fitted to, from a filter in float32; fits agree to 1e-9
    Params = SpotsParams
    may_need = (VALID,)
    from_file = {"spots": places_of_file, "spline": spline_of_file, "camera": camera_of_file}
    results = {"localisations": Localisations}
    report = staticmethod(report_of)
    measures = staticmethod(measures_of)
    gives: tuple[Gives, ...] = (
        Gives("spots", "table", _TABLE, "", _MEANING),
        Gives("photons", "by_id", ("t", "n"), "photons", "of each spot at a known position"),
        Gives("photons_error", "by_id", ("t", "n"), "photons", "their standard error"),
        Gives("count", "per_frame", ("t",), "", "number of spots, NaN in frames that are not valid"),
        Gives("photons_bins", "snapshot", ("photons_bins",), "photons", "centres of the histogram's bins"),
        Gives("photons_histogram", "snapshot", ("photons_bins",), "", "measurements in each bin so far"),
        Gives(
            "status", "snapshot", (), "", "as stated, or what speaks against the camera's numbers or the false alarms"
        ),
        Gives("still", "snapshot", (), "", "spots of a frame that stand still, NaN in 20 frames"),
        Gives("looked_at", "snapshot", ("y", "x"), "ADU", "the mean that spots are detected on"),
    )
    counted = {"count": "spots"}
    presents = Presents(("frames", "looked_at"), ("spots", "photons_histogram", "count"))
    examples = (
        {"detect": "mean", "mean_frames": 20, "false_alarms": 100.0, "crop_px": 7},
        {"spots": [[6.2, 7.9], [3.0, 4.0], [6.0, 11.5], [0.0, 16.2]], "crop_px": 7, "method": "weighted"},
        {"fit": "phasor", "false_alarms": 100.0, "crop_px": 7, "method": "border", "fit_sigma": False},
        {"model": "gauss", "sigma_px": (1.2, 1.5), "false_alarms": 100.0, "crop_px": 7},
    )
    live = {"false_alarms": 20.0}
    compiles = (compile_detection, compile_measurement, compile_known)

    def __init__(self, params: SpotsParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        known = params.spots is not None
        if known and params.detect is not None:
            raise ConfigError("spots: give either spots or detect, not both")
        if params.drift and not known:
            raise ConfigError("spots: drift needs spots; without them use the frames of motion")
        self._widths, camera = both_widths(params), camera_of(params, spec)
        self._measurement = measurement_of(params, spec, camera, known)
        self._background_known = background_known(camera)
        if missing := what_is_unknown(camera):
            log.warning("spots: %s", missing)
        self._qe = np.asarray(1.0 if camera.qe is None else camera.qe)
        self._places = checked_places(params.spots, spec) if known else None
        mean = params.detect == "mean"
        search = new_search(spec.shape, self._sigma, params.false_alarms, camera.excess_noise)
        self._localiser = (
            Localiser(spec, search, self._measurement)
            if self.card is None
            else LocaliserOnCard(spec, search, self._measurement, self.card, (not known and not mean, known or mean))
        )
        self._excess_noise = camera.excess_noise
        self._passes = self._new_passes() if mean else None
        self._known = self._known_spots()
        self._histogram = PhotonHistogram()
        self._doubts = Doubts(spec.shape, self._measurement.sensor, params.false_alarms, missing)
        self.needs = ("shift_px",) if params.drift else ()
        self.gives = self._gives(known, mean, unknown(camera.gain_e_per_adu))
        self._compile()

    def prepare(self, params: SpotsParams) -> None:
        if self._passes is None:
            self._table(params)  # takes a second, then it is kept

    def change(self, params: SpotsParams) -> None:
        if self._passes is not None and params.false_alarms != self.params.false_alarms:
            raise ConfigError('spots: detect = "mean" spends false_alarms over all passes, so it stays as it is')
        self._localiser.search = self._localiser.search._replace(table=self._table(params))
        self._doubts.false_alarms = params.false_alarms
        self.params = params

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        valid = valid_frames(block, inputs)
        if self._places is None and self._passes is None:
            return self._localised(block, valid)
        shifts, runs, compared = self._shifts(block, inputs), [], []
        for start, frames in self._localiser.parts(block):
            part, known = shifts[start : start + len(frames)], valid[start : start + len(frames)]
            compared += self._compared(block, frames, start, valid)
            runs += [self._measured(frames, part)] if self._passes is None else self._detected(frames, part, known)
        self._doubts.add(int(np.count_nonzero(valid)), compared)
        values, flags, places = self._joined(runs)
        values[:, ~valid], flags[~valid] = np.nan, -1
        return self._known_output(block, valid, (values, flags, places))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        held: dict[str, Callable[[], np.ndarray]] = {
            "photons_bins": self._histogram.photons,
            "photons_histogram": lambda: self._histogram.counts.astype(float),
            "status": lambda: np.asarray(self._doubts.status()),
            "still": lambda: np.asarray(self._doubts.still()),
        }
        if self._passes is not None:
            held["looked_at"] = self._passes.mean
        return {name: held[name]() for name in self.snapshot_names(names)}  # some take milliseconds: the wanted alone

    def doubt(self) -> str:
        return self._doubts.doubt()

    @property
    def merges(self) -> bool:
        return self._passes is None  # places found on the mean are known from then on

    def merge(self, other: Self) -> None:
        self._histogram.merge(other._histogram)
        self._doubts.merge(other._doubts)

    def state(self) -> State:
        own = {**self._histogram.state(), **self._doubts.state()}
        return {**own, **(self._passes.state() if self._passes is not None else {})}

    def restore(self, state: State) -> None:
        self._histogram.restore(state)
        self._doubts.restore(state)
        if self._passes is not None:
            self._passes.restore(state)
            self._known = self._known_spots()

    def _compared(self, block: Block, frames: Any, start: int, valid: np.ndarray) -> list[np.ndarray]:
        """Return of frames of a block, from its frame `start` on, what is compared for doubts."""
        t = np.arange(start, start + len(frames))
        due = valid[t] & self._doubts.compares(block.index + t)
        return [self._localiser.compared(frames[n]) for n in np.flatnonzero(due)]

    # Spots detected in each frame

    def _localised(self, block: Block, valid: np.ndarray) -> Output:
        """Detect, fit and integrate the spots of each valid frame."""
        parts, places, compared = [], [], []
        for start, frames in self._localiser.parts(block):
            rows, seen = self._localiser.localise(frames)
            if not valid.all():
                known = valid[start + rows[:, FRAME].astype(np.int64)]
                rows, seen = rows[known], seen[known]
            compared += self._compared(block, frames, start, valid)
            places.append((rows[:, [Y, X]], seen))
            rows[:, FRAME] += start
            parts.append(rows)
        self._doubts.add(int(np.count_nonzero(valid)), compared)
        for found, seen in places:
            self._doubts.found(found, seen)
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        frame = rows[:, FRAME].astype(np.int64)
        qe = self._qe_at(rows[:, Y], rows[:, X])
        columns = {name: rows[:, place].copy() for name, place in _COLUMNS.items()}
        for name in ("photons", "error", "background"):
            columns[name] /= qe
        if not self._background_known:
            columns["background"][:] = np.nan
        if self.params.model == "gauss":
            columns["sigma_px"] = np.sqrt(rows[:, SIGMA_Y] * rows[:, SIGMA_X])
            columns |= {"sigma_y_px": rows[:, SIGMA_Y].copy(), "sigma_x_px": rows[:, SIGMA_X].copy()}
        flags = rows[:, FLAGS].astype(np.int64)
        table = Table({"frame": block.index + frame, "spot": rows[:, SPOT].astype(np.int64), **columns, "flags": flags})
        self._histogram.add(columns["photons"])
        count = np.where(valid, np.bincount(frame, minlength=len(block)), np.nan)
        return Output(block.index, {"spots": table, "count": count})

    # Spots at known positions

    def _known_spots(self) -> KnownSpots:
        """Return the spots known by now, with their neighbours."""
        places = self._places if self._passes is None else self._passes.places
        places = np.empty((0, 3)) if places is None else places
        return KnownSpots(places, *neighbours_of(places, self.params.crop_px, max(self._widths)))

    def _measured(self, frames: Any, shifts: np.ndarray) -> Run:
        """Return photons, error, background, χ² (4, t, n), flags (t, n) and positions (t, n, 2) of the known spots."""
        values, flags = self._localiser.measure(frames, self._known, shifts)
        return values, flags, self._known.places[:, :2] + shifts[:, None]

    def _detected(self, frames: Any, shifts: np.ndarray, valid: np.ndarray) -> list[Run]:
        """Return the same in runs between detection passes over valid frames, after each of which spots join."""
        assert self._passes is not None
        runs, start = [], 0
        for t, frame in enumerate(frames):
            if valid[t] and self._passes.add(frame):
                runs.append(self._measured(frames[start:t], shifts[start:t]))
                self._passes.detect(self._localiser.search)
                self._known = self._known_spots()
                start = t
        return [*runs, self._measured(frames[start:], shifts[start:])]

    def _joined(self, runs: list[Run]) -> Run:
        """Return the runs end to end, padded to all spots known by now; flags are −1 where one was not known yet."""
        late = [(0, len(self._known.places) - flags.shape[1]) for _, flags, _ in runs]
        values = [np.pad(run[0], ((0, 0), (0, 0), n)) for run, n in zip(runs, late, strict=True)]
        flags = [np.pad(run[1], ((0, 0), n), constant_values=-1) for run, n in zip(runs, late, strict=True)]
        places = [np.pad(run[2], ((0, 0), n, (0, 0))) for run, n in zip(runs, late, strict=True)]
        return np.concatenate(values, 1), np.concatenate(flags), np.concatenate(places)

    def _known_output(self, block: Block, valid: np.ndarray, run: Run) -> Output:
        """Return the known spots' table, and their photons by number, 0 before a spot is known."""
        values, flags, places = run
        y, x = np.moveaxis(places, -1, 0)
        values[:3] /= self._qe_at(y, x)
        if not self._background_known:
            values[2] = np.nan
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
                "count": np.where(valid, (flags >= 0).sum(1), np.nan),
            },
        )

    def _shifts(self, block: Block, inputs: Values) -> np.ndarray:
        """Return the shifts of the known spots (t, 2) [px], 0 where one is not finite."""
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

    # Initialisation

    def _table(self, params: SpotsParams) -> np.ndarray:
        """The thresholds of the matched filter."""
        return search_table(self.spec.shape, self._sigma, params.false_alarms, self._excess_noise)

    def _new_passes(self) -> DetectionPasses:
        pixels = self.spec.shape[0] * self.spec.shape[1]
        rates = pass_rates(min(self.params.false_alarms / pixels, MAX_RATE))
        excess = max(1.0, self._measurement.sensor.poisson)
        tables = [thresholds(self._sigma, rate, excess) for rate in rates]
        told = self._measurement, self.params.mean_frames, max(self._widths), tables
        if self.card is None:
            return DetectionPasses(self.spec, *told)
        return CardDetectionPasses(self.card, self.spec, self._localiser.search, told)

    @property
    def _sigma(self) -> float:
        """The σ of the matched filter [px]."""
        return math.sqrt(self._widths[0] * self._widths[1])

    def _gives(self, known: bool, mean: bool, in_adu: bool) -> tuple[Gives, ...]:
        """Return what this operator gives: photons of known spots alone, light in ADU where the gain is unknown."""
        wanted = {"spots", "count", "photons_bins", "photons_histogram", "status"}
        wanted |= set() if known or mean else {"still"}
        wanted |= {"photons", "photons_error"} if known or mean else set()
        wanted |= {"looked_at"} if mean else set()
        dims = _TABLE + (_TWO_WIDTHS if self.params.model == "gauss" else ())
        made = [replace(g, dims=dims) if g.kind == "table" else g for g in self.gives if g.name in wanted]
        return tuple(replace(g, unit="ADU") if in_adu and g.unit == "photons" else g for g in made)

    def _compile(self) -> None:
        """Compile every kernel for the types of the frames."""
        frame = np.zeros((1, *self.spec.shape), self.spec.dtype)
        _, frames = next(self._localiser.parts(on_device(Block(0, np.zeros(1, np.int64), frame), self.card)))
        if self._places is None and self._passes is None:
            self._localiser.localise(frames)
            return
        if self._passes is not None:
            passes = self._new_passes()
            passes.add(frames[0])
            passes.detect(self._localiser.search)
        self._measured(frames, np.zeros((1, 2)))
