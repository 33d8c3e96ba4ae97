"""Calcium imaging of neurons in moving, bleaching tissue, with its truth.

Expected photons of frame t at pixel p of the tissue, before it moves:

    photons(p, t) = B(t) · [ background(p) + neuropil_map(p) · N(t) + Σ_k A_k(p) · C_k(t) ]

- Spikes: counts S_k(t) ~ Poisson(rate_k / frame rate); the rates vary between cells (log-normal, sd 0.5, mean
  `spike_rate_hz`).
- Calcium: C_k(t) = g C_k(t-1) + a_k S_k(t) with g = exp(-1 / (decay_s · frame rate)): AR(1), Vogelstein et al. 2010,
  J. Neurophysiol. 104:3691. With rise_s > 0 a second pole r = exp(-1 / (rise_s · frame rate)) makes it AR(2),
  C(t) = (g + r) C(t-1) - g r C(t-2) + b a_k S(t), Pnevmatikakis et al. 2016, Neuron 89:285, where b scales the
  response to one spike to a peak of a_k. a_k [photons at footprint weight 1] = signal · photons, log-normal between
  cells (sd 0.3).
- Footprints A_k: ellipses with a dark nucleus, peak 1 (`tissue.draw_footprints`).
- Background: uneven tissue with a fine grain, and each cell at rest (`rest` · tissue); its mean is `photons`.
- Neuropil: N(t) = exp(n(t) - s²/2) - 1 with s = `neuropil`, so its mean is 0 and tissue never turns negative; n is a
  smooth random course of standard deviation s and time constant 1 s; the map is tissue times a smooth weight in 0 … 1.
- Off by default: what real fields have. `neuropil_follows` adds Σ_q image_q(p) · n_q(t), smooth images around nodes
  5 neuron_sigma_px apart whose courses n_q are 60 % (of the variance) the activity of the cells around and 40 % smooth
  random courses of 1 s (`neuropil.FollowingNeuropil`); their sd is this part of a mean cell's. `processes` adds thin
  lines with spikes of their own. `saturation` s makes calcium C / (1 + s · C / a_k). `bursts` of all spikes come in
  bursts of 4 within 0.1 s. `z_drift` moves the focus by z(t), a smooth random course of 30 s with this sd: light of
  cell k at depth d_k, standard normal, is exp(-((d_k - z)² - d_k²) / 2), at most 2, of what it was, at rest too.
  `line_motion_px` moves the lines of each frame along x by a smooth course of 8 lines. `size_spread` and `rings` make
  cells unequal (`tissue.draw_bodies`).
- Bleaching: B(t) = 1 - bleach_fraction · (1 - exp(-t / bleach_s)).
- Motion: (dy, dx) = motion_px · u(t) with u two smooth random courses of standard deviation 1, time constant 0.3 s,
  clipped at ± 3, near 0 at first. frame(y + dy, x + dx) = photons(y, x).
- Smooth random courses: an Ornstein-Uhlenbeck process filtered once more by its own time constant (a double pole).
- Camera: `camera.expose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from scipy import sparse
from scipy.ndimage import gaussian_filter1d

from .camera import CameraParams, Count, camera_spec, expose, generator
from .neuropil import FollowingNeuropil, draw_processes
from .timeline import CHUNK_FRAMES, Timeline, run_filter, smooth_course, unit_peak
from .tissue import draw_bodies, draw_footprints, draw_tissue, scatter_neurons, shift_lines, view_field

_TISSUE, _SPIKES, _COURSES, _NOISE, _BODIES, _PROCESSES, _PROCESS_SPIKES, _NODES, _FOCUS, _BURSTS, _LINES = range(11)
_PX_PER_NEURON = 40  # in units of neuron_sigma_px²: 410 neurons in 512 × 512 at 4 px
_MOTION_S, _NEUROPIL_S = 0.3, 1.0
_FOCUS_S, _LINE_COURSE = 30.0, 8
_SPIKES_PER_BURST, _BURST_S = 4, 0.1
_MOTION_LIMIT = 3.0
_INTERPOLATION_PX = 2


class CalciumParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:calcium`. Raises ValueError if rise_s does not stay below decay_s."""

    neurons: Annotated[Count | None, Meta(description="how many; none: one per 40 neuron_sigma_px²")] = None
    neuron_sigma_px: Annotated[float, Meta(ge=0.5, le=100, description="size of a neuron [px]")] = 4.0
    spike_rate_hz: Annotated[float, Meta(ge=0, le=1e3, description="mean spikes per neuron and second [Hz]")] = 0.3
    decay_s: Annotated[float, Meta(gt=0, le=1e3, description="calcium decay time constant [s]")] = 0.4
    rise_s: Annotated[float, Meta(ge=0, le=1e3, description="calcium rise time constant; 0: at once [s]")] = 0.0
    signal: Annotated[float, Meta(ge=0, le=1e3, description="peak of one spike relative to photons")] = 0.5
    rest: Annotated[float, Meta(ge=0, le=1e3, description="a neuron at rest relative to the tissue")] = 0.6
    neuropil: Annotated[float, Meta(ge=0, le=1, description="relative sd of the slow neuropil signal")] = 0.1
    motion_px: Annotated[float, Meta(ge=0, le=50, description="rms of the tissue's motion along each axis [px]")] = 1.0
    bleach_fraction: Annotated[float, Meta(ge=0, le=1, description="part of the light lost in the end")] = 0.1
    bleach_s: Annotated[float, Meta(gt=0, le=1e6, description="bleaching time constant [s]")] = 120.0
    neuropil_follows: Annotated[
        float, Meta(ge=0, le=10, description="sd of neuropil that follows the cells around it, relative to a cell's")
    ] = 0.0
    processes: Annotated[Count, Meta(description="thin processes that cross the field, active like cells")] = 0
    saturation: Annotated[
        float, Meta(ge=0, le=10, description="of the indicator: response to n spikes n / (1 + saturation n)")
    ] = 0.0
    bursts: Annotated[float, Meta(ge=0, le=1, description="fraction of spikes that come in bursts of 4")] = 0.0
    z_drift: Annotated[float, Meta(ge=0, le=5, description="rms of focus drift, in depths of focus")] = 0.0
    line_motion_px: Annotated[float, Meta(ge=0, le=10, description="rms motion of lines within a frame [px]")] = 0.0
    size_spread: Annotated[float, Meta(ge=0, le=1, description="sd of the logarithm of the neurons' size")] = 0.0
    rings: Annotated[float, Meta(ge=0, le=1, description="fraction of neurons whose nucleus is dark")] = 0.0

    def __post_init__(self) -> None:
        if self.rise_s >= self.decay_s:
            raise ValueError(f"rise_s must be shorter than decay_s, found {self.rise_s} and {self.decay_s}")


class Activity(NamedTuple):
    """One chunk of time courses: spikes (t, K), calcium (t, K) in photons, shift_px (t, 2), neuropil (t,).

    Of what is off by default: following (t, nodes) in photons, processes (t, P) in photons, focus z (t,).
    """

    spikes: np.ndarray
    calcium: np.ndarray
    shift_px: np.ndarray
    neuropil: np.ndarray
    following: np.ndarray
    processes: np.ndarray
    focus: np.ndarray


class CalciumSimulator:
    """Neurons flickering in moving tissue; see the module for the equations."""

    Params: ClassVar[type[CameraParams]] = CalciumParams
    version: ClassVar[int] = 1

    def __init__(self, params: CalciumParams) -> None:
        self.params = params
        self.spec = camera_spec(params)
        self._pad = int(np.ceil(_MOTION_LIMIT * params.motion_px)) + _INTERPOLATION_PX
        self._field = (params.shape[0] + 2 * self._pad, params.shape[1] + 2 * self._pad)
        self._draw_scene()
        frames_per_s = params.frame_rate_hz
        self._g = float(np.exp(-1 / (params.decay_s * frames_per_s)))
        self._r = float(np.exp(-1 / (params.rise_s * frames_per_s))) if params.rise_s else 0.0
        self._timeline = self._new_timeline()

    def _draw_scene(self) -> None:
        p, sigma = self.params, self.params.neuron_sigma_px
        rng = generator(p.seed, _TISSUE)
        count = p.neurons
        if count is None:
            count = max(1, round(p.shape[0] * p.shape[1] / (_PX_PER_NEURON * sigma**2)))
        self._position_px = scatter_neurons(count, p.shape, 2 * sigma, rng)
        bodies = draw_bodies(count, p.size_spread, p.rings, generator(p.seed, _BODIES))
        self._footprints = draw_footprints(self._position_px, p.shape, self._pad, sigma, rng, bodies)
        self._rate_hz = p.spike_rate_hz * rng.lognormal(-(0.5**2) / 2, 0.5, count)
        self._amplitude = p.signal * p.photons * rng.lognormal(-(0.3**2) / 2, 0.3, count)
        rest = p.rest * rng.lognormal(-(0.4**2) / 2, 0.4, count)
        brightness, weight = draw_tissue(self._field, sigma, rng)
        brightness += self._footprints.dot(rest.astype(np.float32)).reshape(self._field)
        scale = p.photons / self._inside(brightness).mean(dtype=float)
        brightness *= np.float32(scale)
        self._background, self._neuropil_map = brightness, brightness * weight
        self._rest = rest * scale
        rng = generator(p.seed, _PROCESSES)
        self._processes = draw_processes(p.processes, p.shape, self._pad, sigma, rng)
        self._process_rate_hz = p.spike_rate_hz * rng.lognormal(-(0.5**2) / 2, 0.5, p.processes)
        self._process_amplitude = p.signal * p.photons * rng.lognormal(-(0.3**2) / 2, 0.3, p.processes)
        self._following = FollowingNeuropil(self._field, self._position_px + self._pad, sigma)
        self._depth = generator(p.seed, _FOCUS, 2**31).standard_normal(count)

    def _inside(self, field: np.ndarray) -> np.ndarray:
        """The part of a padded field that an unshifted frame shows."""
        return field[self._pad : -self._pad, self._pad : -self._pad]

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        frames = np.empty((stop - start, *self.params.shape), np.uint16)
        for i in range(start, stop):
            frames[i - start] = expose(self._photons(i), self.params, generator(self.params.seed, _NOISE, i))
        return frames

    def _photons(self, index: int) -> np.ndarray:
        """Expected photons (y, x) float32 of one frame."""
        activity, t = self._timeline.chunk(index // CHUNK_FRAMES), index % CHUNK_FRAMES
        p, light = self.params, activity.calcium[t]
        if p.z_drift:
            light = light + (self._rest * (self._in_focus(activity.focus[t : t + 1])[:, 0] - 1)).astype(np.float32)
        field = self._footprints.dot(light).reshape(self._field)
        field += self._background
        if p.neuropil:
            field += self._neuropil_map * np.float32(activity.neuropil[t])
        if p.neuropil_follows:
            field += self._following.image(activity.following[t])
        if p.processes:
            field += self._processes.dot(activity.processes[t]).reshape(self._field)
        field *= np.float32(self._bleaching(index))
        frame = view_field(field, p.shape, self._pad, activity.shift_px[t])
        if p.line_motion_px:
            frame = shift_lines(frame, self._line_shift(index))
        np.maximum(frame, 0, out=frame)  # cubic interpolation may undershoot beside a steep edge
        return frame

    def _bleaching(self, index: Any) -> Any:
        p = self.params
        return 1 + p.bleach_fraction * np.expm1(-index / (p.frame_rate_hz * p.bleach_s))

    def _in_focus(self, z: np.ndarray) -> np.ndarray:
        """Light of each cell (K, t) at focus z (t,), relative to focus 0."""
        depth = self._depth[:, None]
        return np.minimum(np.exp(-((depth - z) ** 2 - depth**2) / 2), 2.0)

    def _line_shift(self, index: int) -> np.ndarray:
        """How far the lines (y,) of a frame move along x [px]."""
        white = generator(self.params.seed, _LINES, index).standard_normal(self.params.shape[0])
        course = gaussian_filter1d(white, _LINE_COURSE)
        unit = np.sqrt(2 * np.sqrt(np.pi) * _LINE_COURSE)  # white noise through this filter has sd 1 / unit
        return np.clip(self.params.line_motion_px * unit * course, -30, 30)

    def _new_timeline(self) -> Timeline[Activity]:
        cells, lines, window = len(self._position_px), self.params.processes, self._burst_frames - 1
        nodes = self._following.nodes if self.params.neuropil_follows else 0
        shapes = ((cells, 2), (2, 2), (1, 2), (cells, window), (lines, 2), (nodes, 2), (1, 2))
        return Timeline(self._advance, tuple(np.zeros(shape) for shape in shapes))

    @property
    def _burst_frames(self) -> int:
        return max(1, round(_BURST_S * self.params.frame_rate_hz))

    def _spikes(self, k: int, pending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spikes (K, t) of chunk k, and the bursts begun in its last frames."""
        p = self.params
        rates = self._rate_hz[:, None] / p.frame_rate_hz
        if p.bursts:
            begun = generator(p.seed, _BURSTS, k).poisson(
                p.bursts * rates / _SPIKES_PER_BURST, (len(rates), CHUNK_FRAMES)
            )
            frames, begun = self._burst_frames, np.concatenate((pending, begun), 1)
            going = sum(begun[:, n : n + CHUNK_FRAMES] for n in range(frames))
            rates = (1 - p.bursts) * rates + going * (_SPIKES_PER_BURST / frames)
            pending = begun[:, CHUNK_FRAMES:]
        return generator(p.seed, _SPIKES, k).poisson(rates, (len(rates), CHUNK_FRAMES)), pending

    def _respond(self, spikes: np.ndarray, amplitude: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Calcium (n, t) in photons of spikes (n, t), through the indicator, and the filter's state."""
        poles = [1, -(self._g + self._r), self._g * self._r]
        drive = spikes * (amplitude[:, None] * unit_peak(self._g, self._r))
        calcium, state = run_filter([1.0], poles, drive, state)
        if self.params.saturation:
            calcium /= 1 + self.params.saturation * calcium / np.maximum(amplitude[:, None], 1e-30)
        return calcium, state

    def _node_courses(self, k: int, calcium: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Neuropil (nodes, t) in photons that follows calcium (K, t), and the state of its own courses."""
        p = self.params
        rate = self._rate_hz[:, None] / p.frame_rate_hz
        mean, sd = rate / (1 - self._g), np.sqrt(rate / (1 - self._g**2))  # of AR(1), in spikes
        amplitude = np.maximum(self._amplitude[:, None], 1e-30)
        activity = (calcium / amplitude - mean) / np.maximum(sd, 1e-30)
        white = generator(p.seed, _NODES, k).standard_normal((len(state), CHUNK_FRAMES))
        own, state = smooth_course(white, _NEUROPIL_S * p.frame_rate_hz, state)
        typical = np.sqrt(p.spike_rate_hz / p.frame_rate_hz / (1 - self._g**2)) * p.signal * p.photons
        return p.neuropil_follows * typical * self._following.courses(activity, own), state

    def _advance(self, k: int, state: tuple[np.ndarray, ...]) -> tuple[Activity, tuple[np.ndarray, ...]]:
        p, (calcium_state, motion_state, neuropil_state, pending, lines_state, nodes_state, focus_state) = (
            self.params, state,
        )  # fmt: skip
        spikes, pending = self._spikes(k, pending)
        calcium, calcium_state = self._respond(spikes, self._amplitude, calcium_state)
        white = generator(p.seed, _COURSES, k).standard_normal((3, CHUNK_FRAMES))
        motion, motion_state = smooth_course(white[:2], _MOTION_S * p.frame_rate_hz, motion_state)
        course, neuropil_state = smooth_course(white[2:], _NEUROPIL_S * p.frame_rate_hz, neuropil_state)
        lines, nodes, focus = np.zeros((0, CHUNK_FRAMES)), np.zeros((0, CHUNK_FRAMES)), np.zeros((1, CHUNK_FRAMES))
        if p.processes:
            rates = self._process_rate_hz[:, None] / p.frame_rate_hz
            fired = generator(p.seed, _PROCESS_SPIKES, k).poisson(rates, (len(rates), CHUNK_FRAMES))
            lines, lines_state = self._respond(fired, self._process_amplitude, lines_state)
        if p.neuropil_follows:
            nodes, nodes_state = self._node_courses(k, calcium, nodes_state)
        if p.z_drift:
            white = generator(p.seed, _FOCUS, k).standard_normal((1, CHUNK_FRAMES))
            focus, focus_state = smooth_course(white, _FOCUS_S * p.frame_rate_hz, focus_state)
            focus *= p.z_drift
            calcium = calcium * self._in_focus(focus[0])
        activity = Activity(
            spikes=np.ascontiguousarray(spikes.T, np.uint16),
            calcium=np.ascontiguousarray(calcium.T, np.float32),
            shift_px=p.motion_px * np.clip(motion.T, -_MOTION_LIMIT, _MOTION_LIMIT),
            neuropil=np.expm1(p.neuropil * course[0] - p.neuropil**2 / 2),
            following=np.ascontiguousarray(nodes.T, np.float32),
            processes=np.ascontiguousarray(lines.T, np.float32),
            focus=focus[0],
        )
        return activity, (
            calcium_state, motion_state, neuropil_state, pending, lines_state, nodes_state, focus_state,
        )  # fmt: skip

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name; T frames, K neurons.

        `A_data`, `A_indices`, `A_indptr`, `A_shape`: the footprints as a scipy csc matrix (y·x in C order, K) on the
        unshifted field · `position_px` (K, 2) · `C` (K, T) calcium above rest in photons at footprint weight 1, before
        bleaching · `spikes` (K, T) counts · `amplitude` (K,) photons of one spike · `g`, `g_rise` (K,) poles of the AR
        model per frame, g_rise 0 for AR(1) · `shift_px` (T, 2) how far the tissue moved, (dy, dx) · `background`
        (y, x) photons at rest · `neuropil_map` (y, x) photons and `neuropil` (T,) · `bleaching` (T,) light left ·
        `photons`, `read_noise_e`, `gain_e_per_adu`, `offset_adu`, `seed`. Of what is off by default: `P_data`,
        `P_indices`, `P_indptr`, `P_shape` the processes and `P_C` (P, T) their light in photons · `focus` (T,) and
        `depth` (K,) · `line_shift_px` (T, y).
        """
        count, p = len(self._position_px), self.params
        truth: dict[str, np.ndarray] = {
            "C": np.empty((count, frames), np.float32),
            "spikes": np.empty((count, frames), np.uint16),
            "shift_px": np.empty((frames, 2)),
            "neuropil": np.empty(frames),
        }
        for k, chunk in enumerate(self._new_timeline().chunks(frames)):
            here = slice(k * CHUNK_FRAMES, min((k + 1) * CHUNK_FRAMES, frames))
            n = here.stop - here.start
            truth["C"][:, here], truth["spikes"][:, here] = chunk.calcium[:n].T, chunk.spikes[:n].T
            truth["shift_px"][here], truth["neuropil"][here] = chunk.shift_px[:n], chunk.neuropil[:n]
        truth |= self._columns("A", self._footprints) | self._optional_truth(frames)
        truth |= {
            "position_px": self._position_px.copy(),
            "amplitude": self._amplitude.copy(),
            "g": np.full(count, self._g),
            "g_rise": np.full(count, self._r),
            "background": self._inside(self._background).copy(),
            "neuropil_map": self._inside(self._neuropil_map).copy(),
            "bleaching": self._bleaching(np.arange(frames)),
        }
        names = ("photons", "read_noise_e", "gain_e_per_adu", "offset_adu", "seed")
        return truth | {name: np.array(getattr(p, name)) for name in names}

    def _columns(self, name: str, images: sparse.csc_array) -> dict[str, np.ndarray]:
        """Images of the padded field, as truth on the unshifted field."""
        pixels = np.arange(self._background.size).reshape(self._field)
        a = images.tocsr()[self._inside(pixels).ravel()].tocsc()
        parts = {"data": a.data, "indices": a.indices, "indptr": a.indptr, "shape": np.array(a.shape)}
        return {f"{name}_{part}": array for part, array in parts.items()}

    def _optional_truth(self, frames: int) -> dict[str, np.ndarray]:
        """Truth of what is off by default, where it is on."""
        p = self.params
        truth: dict[str, np.ndarray] = {}
        chunks = list(self._new_timeline().chunks(frames)) if p.processes or p.z_drift else []
        if p.processes:
            truth |= self._columns("P", self._processes)
            truth["P_C"] = np.concatenate([chunk.processes for chunk in chunks])[:frames].T
        if p.z_drift:
            truth["focus"] = np.concatenate([chunk.focus for chunk in chunks])[:frames]
            truth["depth"] = self._depth.copy()
        if p.line_motion_px:
            truth["line_shift_px"] = np.array([self._line_shift(t) for t in range(frames)])
        return truth
