"""Voltage imaging: cells whose membrane flickers a thousand times a second, with their truth.

Expected photons of frame t at pixel p of the tissue, before it moves:

    photons(p, t) = B(t) · vessels(p, t) · [ haze(p) (1 + Σ_j G_j(p) n_j(t)) + Σ_k A_k(p) (rest + s · a_k V_k(t)) ]

- Voltage: V_k = spikes ∗ waveform + subthreshold, in units of a spike's peak. Spikes are Poisson with a dead time of
  `refractory_ms`; rates vary between cells (log-normal, sd `rate_spread`). The waveform is the difference of two
  exponentials (rise a quarter of the fall), summed over each frame's exposure, scaled to a largest frame of 1, with
  `spike_ms` full width at half its maximum. Subthreshold: a smooth random course of sd `subthreshold`.
- Sign s: 1, or −1 for an indicator that dims when the cell fires (`polarity`).
- Footprints A_k: soft discs of radius_px, brighter towards the membrane, peak 1; `rest` is light of a cell at rest
  relative to the haze.
- Amplitude a_k: such that the **SNR of a cell is `snr` at frame 0: the peak of one spike over the noise σ of the
  optimal trace**, that of the weights A_k / variance, which no other unbiased weights can undercut while noise is
  independent between pixels: SNR² = Σ_p (a_k A_k(p))² / (photons(p) + read noise²). Bleaching lowers it by √B.
- Haze: mean `photons`, uneven; its light follows `haze_sources` broad courses n_j, sd `haze_sd`; nine tenths of the
  variance are smooth and one tenth is spikes of cells out of focus.
- Blood: `vessels` dark lines a few pixels wide take `vessel_depth` of the light; what flows in them carries a random
  pattern along at `flow_px_per_s`, and the heart (`heart_hz`) widens and narrows them.
- Bleaching: B(t) = 1 − bleach_fraction · (1 − exp(−t / bleach_s)).
- Motion: (dy, dx) = motion_px · u(t), two smooth random courses with a time constant of 0.1 s, clipped at ± 3.
- Camera: `camera.expose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta
from scipy import sparse

from .camera import CameraParams, Count, Side, camera_spec, expose, generator
from .psf import spread_points
from .timeline import CHUNK_FRAMES, Timeline, smooth_course
from .tissue import draw_tissue, view_field

_SCENE, _SPIKES, _COURSES, _NOISE, _BLOOD = range(5)
_MOTION_S, _MOTION_LIMIT, _INTERPOLATION_PX = 0.1, 3.0, 2
_FINE = 20  # points of a waveform in a frame
_PX2_PER_CELL = 25  # radius² a cell
_FIRING = 0.1  # of the haze's variance are spikes, of a per cent of its light where haze_sd is 0.5 %
_PATTERN_PX = 4096  # of blood, before it repeats


class VoltageParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:voltage`."""

    shape: Annotated[tuple[Side, Side], Meta(description="frame height and width, 128x512 in a URI [px]")] = (64, 128)
    frame_rate_hz: Annotated[float, Meta(gt=0, le=1e6, description="frames per second [Hz]")] = 1000.0
    photons: Annotated[float, Meta(ge=0, le=1e6, description="mean haze, detected photons [/px/frame]")] = 200.0
    cells: Annotated[Count | None, Meta(description="how many; none: one per 25 radius_px²")] = None
    radius_px: Annotated[float, Meta(ge=1, le=100, description="of a cell [px]")] = 5.0
    rest: Annotated[float, Meta(ge=0, le=1e3, description="a cell at rest relative to the haze")] = 1.0
    snr: Annotated[float, Meta(ge=0, le=1e3, description="peak of a spike over noise σ of the optimal trace")] = 5.0
    spike_rate_hz: Annotated[float, Meta(ge=0, le=1e3, description="mean spikes per cell and second [Hz]")] = 10.0
    rate_spread: Annotated[float, Meta(ge=0, le=2, description="sd of the logarithm of the cells' rates")] = 0.5
    refractory_ms: Annotated[float, Meta(ge=0, le=1e3, description="dead time after a spike [ms]")] = 4.0
    spike_ms: Annotated[float, Meta(gt=0, le=1e3, description="width of a spike at half its peak [ms]")] = 2.5
    subthreshold: Annotated[float, Meta(ge=0, le=100, description="sd of it, relative to a spike")] = 0.2
    subthreshold_ms: Annotated[float, Meta(gt=0, le=1e6, description="its time constant [ms]")] = 20.0
    polarity: Annotated[Literal["positive", "negative"], Meta(description="light that a spike brings or takes")] = (
        "positive"
    )
    haze_sd: Annotated[float, Meta(ge=0, le=1, description="relative sd of the haze's courses")] = 0.005
    haze_sources: Annotated[int, Meta(ge=0, le=1000, description="cells out of focus")] = 6
    vessels: Annotated[int, Meta(ge=0, le=100, description="blood vessels that cross the field")] = 1
    vessel_depth: Annotated[float, Meta(ge=0, le=1, description="light that a vessel takes")] = 0.2
    flow_px_per_s: Annotated[float, Meta(ge=0, le=1e6, description="speed of the blood [px/s]")] = 300.0
    heart_hz: Annotated[float, Meta(ge=0, le=100, description="heart rate [Hz]")] = 8.0
    motion_px: Annotated[float, Meta(ge=0, le=50, description="rms motion along each axis [px]")] = 0.1
    bleach_fraction: Annotated[float, Meta(ge=0, le=1, description="part of the light lost in the end")] = 0.2
    bleach_s: Annotated[float, Meta(gt=0, le=1e6, description="bleaching time constant [s]")] = 30.0


class Course(NamedTuple):
    """One chunk: spikes (t, K) at their peaks, voltage and subthreshold (t, K), haze (t, J), shift_px (t, 2)."""

    spikes: np.ndarray
    voltage: np.ndarray
    subthreshold: np.ndarray
    haze: np.ndarray
    shift_px: np.ndarray


class VoltageSimulator:
    """Cells of known spikes in haze, blood and shot noise; see the module for the equations."""

    Params: ClassVar[type[CameraParams]] = VoltageParams
    version: ClassVar[int] = 1

    def __init__(self, params: VoltageParams) -> None:
        self.params = p = params
        self.spec = camera_spec(p)
        self._pad = int(np.ceil(_MOTION_LIMIT * p.motion_px)) + _INTERPOLATION_PX
        self._field = (p.shape[0] + 2 * self._pad, p.shape[1] + 2 * self._pad)
        rng = generator(p.seed, _SCENE)
        count = max(1, round(p.shape[0] * p.shape[1] / (_PX2_PER_CELL * p.radius_px**2)))
        count = count if p.cells is None else p.cells
        self._position_px = spread_points(count, p.shape, p.radius_px, rng)
        self._haze = draw_tissue(self._field, p.radius_px, rng)[0] * np.float32(p.photons)
        self._footprints = _footprints(self._position_px + self._pad, p.radius_px, self._field)
        self._rate_hz = p.spike_rate_hz * rng.lognormal(-(p.rate_spread**2) / 2, p.rate_spread, count)
        self._waveform, self._peak = spike_waveform(p.spike_ms * p.frame_rate_hz / 1e3)
        places = rng.uniform((0, 0), self._field, (p.haze_sources, 2))
        self._clouds = _gaussians(places, 4 * p.radius_px, self._field) * self._haze.ravel()[:, None]
        self._vessels = [_vessel(self._field, rng) for _ in range(p.vessels)]
        self._pattern = generator(p.seed, _BLOOD).uniform(-1, 1, (max(1, p.vessels), _PATTERN_PX)).astype(np.float32)
        self._amplitude = self._amplitudes()
        self._timeline = self._new_timeline()

    def _amplitudes(self) -> np.ndarray:
        """Photons that a spike changes where a footprint is 1, of each cell (K,)."""
        p = self.params
        rest = p.rest * p.photons * np.asarray(self._footprints.sum(1)).ravel()
        variance = (self._haze.ravel() + rest) * self._blood(0, still=True).ravel() + p.read_noise_e**2
        blood = self._blood(0, still=True).ravel()
        inside = np.zeros(self._field, bool)
        inside[self._pad : self._pad + p.shape[0], self._pad : self._pad + p.shape[1]] = True
        weight = np.where(inside.ravel(), blood**2 / np.maximum(variance, 1e-12), 0)
        power = np.asarray((self._footprints.multiply(self._footprints)).T @ weight).ravel()
        return p.snr / np.sqrt(np.maximum(power, 1e-12))

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        p, sign = self.params, 1 if self.params.polarity == "positive" else -1
        frames = np.empty((stop - start, *p.shape), np.uint16)
        for i in range(start, stop):
            course, t = self._timeline.chunk(i // CHUNK_FRAMES), i % CHUNK_FRAMES
            light = p.rest * p.photons + sign * self._amplitude * course.voltage[t]
            field = self._footprints.dot(light.astype(np.float32))
            field += self._haze.ravel()
            if p.haze_sources and p.haze_sd:
                field += self._clouds @ course.haze[t].astype(np.float32)
            field = field.reshape(self._field) * (self._blood(i) * np.float32(self._bleaching(i)))
            frame = view_field(field, p.shape, self._pad, course.shift_px[t])
            np.maximum(frame, 0, out=frame)
            frames[i - start] = expose(frame, p, generator(p.seed, _NOISE, i))
        return frames

    def _blood(self, index: int, still: bool = False) -> np.ndarray:
        """What vessels leave of the light (y, x) float32 in one frame, or in the mean."""
        p, left = self.params, np.ones(self._field, np.float32)
        beat = np.sin(2 * np.pi * p.heart_hz * index / p.frame_rate_hz)
        for (across, along, width), pattern in zip(self._vessels, self._pattern, strict=False):
            wide = width if still else width * (1 + 0.05 * beat)
            shade = np.exp(-((across / wide) ** 2))
            if not still:
                at = along - p.flow_px_per_s * index / p.frame_rate_hz
                first = np.floor(at).astype(np.int64)
                part = (at - first).astype(np.float32)
                flowing = pattern[first % _PATTERN_PX] * (1 - part) + pattern[(first + 1) % _PATTERN_PX] * part
                shade = shade * (1 + 0.5 * flowing)
            left *= 1 - np.float32(p.vessel_depth) * shade
        return left

    def _bleaching(self, index: Any) -> Any:
        p = self.params
        return 1 + p.bleach_fraction * np.expm1(-index / (p.frame_rate_hz * p.bleach_s))

    def _new_timeline(self) -> Timeline[Course]:
        cells, sources, reach = len(self._position_px), self.params.haze_sources, len(self._waveform)
        past = np.zeros((cells + sources, reach))
        return Timeline(self._advance, (past, np.zeros((cells, 2)), np.zeros((sources, 2)), np.zeros((2, 2))))

    def _advance(self, k: int, state: tuple[np.ndarray, ...]) -> tuple[Course, tuple[np.ndarray, ...]]:
        p, (past, slow_state, haze_state, motion_state) = self.params, state
        cells, ms = len(self._position_px), p.frame_rate_hz / 1e3
        rate = np.concatenate((self._rate_hz, np.full(p.haze_sources, max(p.spike_rate_hz, 1.0))))
        drawn = generator(p.seed, _SPIKES, k).random((len(rate), CHUNK_FRAMES)) < rate[:, None] / p.frame_rate_hz
        onset = np.concatenate((past, drawn), 1)
        _keep_apart(onset, past.shape[1], max(1, round(p.refractory_ms * ms)))
        reach = len(self._waveform)
        full = np.array([np.convolve(row, self._waveform)[reach : reach + CHUNK_FRAMES] for row in onset])
        full = full.reshape(len(rate), CHUNK_FRAMES)
        rng = generator(p.seed, _COURSES, k)
        slow, slow_state = smooth_course(rng.standard_normal((cells, CHUNK_FRAMES)), p.subthreshold_ms * ms, slow_state)
        own, haze_state = smooth_course(
            rng.standard_normal((p.haze_sources, CHUNK_FRAMES)), p.subthreshold_ms * ms, haze_state
        )
        motion, motion_state = smooth_course(
            rng.standard_normal((2, CHUNK_FRAMES)), _MOTION_S * p.frame_rate_hz, motion_state
        )
        power = max(p.spike_rate_hz, 1.0) / p.frame_rate_hz * (self._waveform**2).sum()
        haze = p.haze_sd * (np.sqrt(1 - _FIRING) * own + np.sqrt(_FIRING) * full[cells:] / np.sqrt(power))
        peaks = onset[:cells, reach - self._peak : reach - self._peak + CHUNK_FRAMES]
        course = Course(
            spikes=np.ascontiguousarray(peaks.T, np.uint8),
            voltage=np.ascontiguousarray((full[:cells] + p.subthreshold * slow).T),
            subthreshold=np.ascontiguousarray((p.subthreshold * slow).T, np.float32),
            haze=np.ascontiguousarray(haze.T),
            shift_px=p.motion_px * np.clip(motion.T, -_MOTION_LIMIT, _MOTION_LIMIT),
        )
        return course, (onset[:, -reach:].copy(), slow_state, haze_state, motion_state)

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name; T frames, K cells.

        `spikes` (K, T) 1 in the frame in which a spike is largest · `voltage` and `subthreshold` (K, T) in units of a
        spike's peak · `masks` (K, y, x) 1 where a cell's footprint is over .3 ·
        `footprints` (K, y, x) · `amplitude` (K,) photons of a spike where the footprint is 1 · `rate_hz` (K,) ·
        `position_px` (K, 2) · `waveform` (n,) and `waveform_peak`, the frame of its peak · `shift_px` (T, 2) ·
        `bleaching` (T,) · `haze` (y, x) photons · `snr`, `photons`, `read_noise_e`, `gain_e_per_adu`, `offset_adu`,
        `seed`.
        """
        p, count = self.params, len(self._position_px)
        chunks = list(self._new_timeline().chunks(frames))
        joined = {
            name: np.concatenate([getattr(chunk, name) for chunk in chunks])[:frames].T
            for name in ("spikes", "voltage", "subthreshold")
        }
        inside = np.s_[..., self._pad : self._pad + p.shape[0], self._pad : self._pad + p.shape[1]]
        footprints = self._footprints.toarray().T.reshape(count, *self._field)[inside].copy()
        truth = joined | {
            "masks": (footprints > 0.3).astype(np.uint8),
            "footprints": footprints,
            "amplitude": self._amplitude.copy(),
            "rate_hz": self._rate_hz.copy(),
            "position_px": self._position_px.copy(),
            "waveform": self._waveform.copy(),
            "waveform_peak": np.array(self._peak),
            "shift_px": np.concatenate([chunk.shift_px for chunk in chunks])[:frames],
            "bleaching": self._bleaching(np.arange(frames)),
            "haze": self._haze[inside].copy(),
        }
        names = ("snr", "photons", "read_noise_e", "gain_e_per_adu", "offset_adu", "seed")
        return truth | {name: np.array(getattr(p, name)) for name in names}


def spike_waveform(width_frames: float) -> tuple[np.ndarray, int]:
    """Return a spike summed over frames (n,), largest 1, and the frame of its peak; `width_frames` at half maximum."""
    t = np.arange(0, 12, 0.002)
    unit = np.exp(-t) - np.exp(-4 * t)
    wide = t[unit > unit.max() / 2]
    fall = width_frames / (wide[-1] - wide[0])  # [frames]
    frames = int(np.ceil(8 * fall)) + 2
    fine = (np.arange(frames * _FINE) + 0.5) / _FINE / fall
    exposed = (np.exp(-fine) - np.exp(-4 * fine)).reshape(frames, _FINE).mean(1)
    exposed /= exposed.max()
    return exposed, int(exposed.argmax())


def _keep_apart(onset: np.ndarray, past: int, dead: int) -> None:
    """Leave out spikes (n, t) that begin less than `dead` frames after another; the first `past` frames stand."""
    for row in onset:
        last = -dead
        for at in np.flatnonzero(row).tolist():
            if at >= past and at - last < dead:
                row[at] = 0
            else:
                last = at


def _footprints(centres_px: np.ndarray, radius_px: float, field: tuple[int, int]) -> sparse.csr_array:
    """Images of cells (y·x, K), peak 1: soft discs, brighter towards the membrane."""
    columns = []
    y, x = np.mgrid[: field[0], : field[1]].astype(np.float32)
    for cy, cx in centres_px:
        distance = np.hypot(y - cy, x - cx) / radius_px
        with np.errstate(over="ignore"):
            image = (0.6 + 0.4 * np.minimum(distance, 1) ** 2) / (1 + np.exp((distance - 1) * radius_px / 0.6))
        image = np.where(image > 0.02, image, 0)
        columns.append(sparse.csc_array((image / image.max()).reshape(-1, 1).astype(np.float32)))
    return sparse.hstack(columns).tocsr() if columns else sparse.csr_array((field[0] * field[1], 0), dtype=np.float32)


def _gaussians(places: np.ndarray, sigma_px: float, field: tuple[int, int]) -> np.ndarray:
    """Broad images (y·x, n) around places, peak 1."""
    y, x = np.mgrid[: field[0], : field[1]].astype(np.float32)
    images = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * sigma_px**2)).ravel() for a, b in places]
    return np.array(images, np.float32).reshape(-1, field[0] * field[1]).T


def _vessel(field: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """A straight vessel: distance from its axis and place along it (y, x) [px], and its half width [px]."""
    y, x = np.mgrid[: field[0], : field[1]].astype(np.float32)
    angle, width = rng.uniform(0, np.pi), rng.uniform(2, 4)
    cy, cx = rng.uniform(0.3, 0.7, 2) * field
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    along = (y - cy) * np.sin(angle) + (x - cx) * np.cos(angle)
    return across.astype(np.float32), along.astype(np.float32), float(width)
