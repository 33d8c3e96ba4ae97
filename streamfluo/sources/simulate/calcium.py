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
  lines with spikes of their own, `spines` small bodies beside these, likewise. `saturation` s makes calcium
  C / (1 + s · C / a_k). `bursts` of all spikes come in bursts of 4 within 0.1 s. `z_drift` moves the focus by z(t), a
  smooth random course of 30 s with this sd: light of
  cell k at depth d_k, standard normal, is exp(-((d_k - z)² - d_k²) / 2), at most 2, of what it was, at rest too.
  `line_motion_px` moves the lines of each frame along x by a smooth course of 8 lines. `size_spread` and `rings` make
  cells unequal (`tissue.draw_bodies`).
- Several days: `animal` (`days`).
- Bleaching: B(t) = 1 - bleach_fraction · (1 - exp(-t / bleach_s)).
- Motion: (dy, dx) = motion_px · u(t) with u two smooth random courses of standard deviation 1, time constant 0.3 s,
  clipped at ± 3, near 0 at first. frame(y + dy, x + dx) = photons(y, x).
- Smooth random courses: an Ornstein-Uhlenbeck process filtered once more by its own time constant (a double pole).
- Camera: `camera.expose`.
- Slices (`z` > 1): cells are bodies in the volume and a slice shows sections of them (`calcium_scene`), with one
  activity; tissue and processes are those of each slice, N(t) and the neuropil that follows are one for all. Motion is
  one for the volume; with `line_motion_px` slice n of z is taken n / z of the interval later, and the motion of then is
  interpolated between time points. `frame_rate_hz` is that of each plane. With `z_psf_um` slices show each other's
  cells (`calcium_scene`). `interleaved` slices are taken one after the other: all courses go on between them, slice n
  of z stands for n / z of the interval later, and its frames say so.
- Structural channel (`channels` = 2): B(t) · (tissue + cells · label), which moves as the indicator does. `labelled` is
  the fraction of cells that have a label at all; `green_in_red` adds so much of the indicator's light, `red_in_green`
  so much of the label's to the indicator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter1d

from ...core.plane import Plane
from .calcium_params import CalciumParams
from .calcium_scene import Scene, planes_of
from .camera import CameraParams, camera_spec, expose, generator
from .days import DayScene
from .timeline import CHUNK_FRAMES, Timeline, run_filter, smooth_course, unit_peak
from .tissue import shift_lines, view_field

# Streams of random numbers; calcium_scene.py has the others.
_SPIKES, _COURSES, _NOISE, _PROCESS_SPIKES, _NODES, _FOCUS, _BURSTS, _LINES = 1, 2, 3, 6, 7, 8, 9, 10
_MOTION_S, _NEUROPIL_S = 0.3, 1.0
_FOCUS_S, _LINE_COURSE = 30.0, 8
_SPIKES_PER_BURST, _BURST_S = 4, 0.1
_MOTION_LIMIT = 3.0
_INTERPOLATION_PX = 2


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
        self.spec = camera_spec(params).with_(planes=planes_of(params))
        pad_px = int(np.ceil(_MOTION_LIMIT * params.motion_px)) + _INTERPOLATION_PX
        self._scene = Scene(params, pad_px) if params.animal is None else DayScene(params, pad_px)
        self._moments = params.z if params.interleaved else 1  # of time in the interval between two frames of a plane
        self._rate_hz = frames_per_s = params.frame_rate_hz * self._moments
        self._g = float(np.exp(-1 / (params.decay_s * frames_per_s)))
        self._r = float(np.exp(-1 / (params.rise_s * frames_per_s))) if params.rise_s else 0.0
        self._timeline = self._new_timeline()

    @property
    def delays_s(self) -> tuple[float, ...]:
        """How much later than the first one each plane is taken [s]."""
        each_s = 1 / self._rate_hz if self._moments > 1 else 0.0
        return tuple(plane.z * each_s for plane in self.spec.planes) or (0.0,)

    def _at(self, index: int, z: int) -> tuple[Activity, int]:
        """The chunk that a slice is in when its frame is taken, and which of its moments that is."""
        moment = index * self._moments + (z if self._moments > 1 else 0)
        return self._timeline.chunk(moment // CHUNK_FRAMES), moment % CHUNK_FRAMES

    def render(self, start: int, stop: int, plane: int = 0) -> np.ndarray:
        """Return the frames of a plane with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        frames, planes = np.empty((stop - start, *self.params.shape), np.uint16), max(1, len(self.spec.planes))
        for i in range(start, stop):
            rng = generator(self.params.seed, _NOISE, i * planes + plane)
            frames[i - start] = expose(self._photons(i, plane), self.params, rng)
        return frames

    def _photons(self, index: int, plane: int) -> np.ndarray:
        """Expected photons (y, x) float32 of one frame."""
        p, (z, channel) = self.params, divmod(plane, self.params.channels)
        is_label = channel < p.channels - 1
        field = self._scene.slices[z].structure.copy() if is_label else self._indicator(index, z)
        if is_label and p.green_in_red:
            field += np.float32(p.green_in_red) * self._indicator(index, z)
        if not is_label and p.channels > 1 and p.red_in_green:
            field += np.float32(p.red_in_green) * self._scene.slices[z].structure
        field *= np.float32(self._bleaching(index))
        frame = view_field(field, p.shape, self._scene.pad_px, self._shift_px(index, z))
        if p.line_motion_px:
            frame = shift_lines(frame, self._line_shift(index, z))
        np.maximum(frame, 0, out=frame)  # cubic interpolation may undershoot beside a steep edge
        return frame

    def _indicator(self, index: int, z: int) -> np.ndarray:
        """Expected photons of a slice on the padded field (y, x) float32, before it bleaches and moves."""
        activity, t = self._at(index, z)
        p, scene, here, light = self.params, self._scene, self._scene.slices[z], activity.calcium[t]
        if p.z_drift:
            light = light + (scene.rest_photons * (self._in_focus(activity.focus[t : t + 1])[:, 0] - 1)).astype(
                np.float32
            )
        field: np.ndarray = here.footprints.dot(light).reshape(scene.field)
        field += here.background
        if p.neuropil:
            field += here.neuropil_map * np.float32(activity.neuropil[t])
        if p.neuropil_follows:
            field += scene.following.image(activity.following[t])
        if p.lines:
            own = slice(z * p.lines, (z + 1) * p.lines)
            field += here.processes.dot(activity.processes[t, own]).reshape(scene.field)
        return field

    def _shift_px(self, index: int, z: int) -> np.ndarray:
        """How far the tissue has moved, (dy, dx), when slice z is taken: with motion in lines, at a time of its own."""
        activity, t = self._at(index, z)
        here: np.ndarray = activity.shift_px[t]
        if not self.params.line_motion_px or not z or self._moments > 1:
            return here
        after = self._timeline.chunk((index + 1) // CHUNK_FRAMES).shift_px[(index + 1) % CHUNK_FRAMES]
        return np.asarray(here + (after - here) * (z / self.params.z))

    def _bleaching(self, index: Any) -> Any:
        p = self.params
        return 1 + p.bleach_fraction * np.expm1(-index / (p.frame_rate_hz * p.bleach_s))

    def _in_focus(self, z: np.ndarray) -> np.ndarray:
        """Light of each cell (K, t) at focus z (t,), relative to focus 0."""
        depth = self._scene.focus_depth[:, None]
        return np.minimum(np.exp(-((depth - z) ** 2 - depth**2) / 2), 2.0)

    def _line_shift(self, index: int, z: int) -> np.ndarray:
        """How far the lines (y,) of slice z move along x [px]; channels are taken at once."""
        white = generator(self.params.seed, _LINES, index * self.params.z + z).standard_normal(self.params.shape[0])
        course = gaussian_filter1d(white, _LINE_COURSE)
        unit = np.sqrt(2 * np.sqrt(np.pi) * _LINE_COURSE)  # white noise through this filter has sd 1 / unit
        return np.clip(self.params.line_motion_px * unit * course, -30, 30)

    def _new_timeline(self) -> Timeline[Activity]:
        cells, lines = len(self._scene.position_px), self.params.lines * self.params.z
        window = self._burst_frames - 1
        nodes = self._scene.following.nodes if self.params.neuropil_follows else 0
        shapes = ((cells, 2), (2, 2), (1, 2), (cells, window), (lines, 2), (nodes, 2), (1, 2))
        return Timeline(self._advance, tuple(np.zeros(shape) for shape in shapes))

    @property
    def _burst_frames(self) -> int:
        return max(1, round(_BURST_S * self._rate_hz))

    def _spikes(self, k: int, pending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spikes (K, t) of chunk k, and the bursts begun in its last frames."""
        p = self.params
        rates = self._scene.rate_hz[:, None] / self._rate_hz
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
        rate = self._scene.rate_hz[:, None] / self._rate_hz
        mean, sd = rate / (1 - self._g), np.sqrt(rate / (1 - self._g**2))  # of AR(1), in spikes
        amplitude = np.maximum(self._scene.amplitude[:, None], 1e-30)
        activity = (calcium / amplitude - mean) / np.maximum(sd, 1e-30)
        white = generator(p.seed, _NODES, k).standard_normal((len(state), CHUNK_FRAMES))
        own, state = smooth_course(white, _NEUROPIL_S * self._rate_hz, state)
        typical = np.sqrt(p.spike_rate_hz / self._rate_hz / (1 - self._g**2)) * p.signal * p.photons
        return p.neuropil_follows * typical * self._scene.following.courses(activity, own), state

    def _advance(self, k: int, state: tuple[np.ndarray, ...]) -> tuple[Activity, tuple[np.ndarray, ...]]:
        p, (calcium_state, motion_state, neuropil_state, pending, lines_state, nodes_state, focus_state) = (
            self.params, state,
        )  # fmt: skip
        spikes, pending = self._spikes(k, pending)
        calcium, calcium_state = self._respond(spikes, self._scene.amplitude, calcium_state)
        white = generator(p.seed, _COURSES, k).standard_normal((3, CHUNK_FRAMES))
        motion, motion_state = smooth_course(white[:2], _MOTION_S * self._rate_hz, motion_state)
        course, neuropil_state = smooth_course(white[2:], _NEUROPIL_S * self._rate_hz, neuropil_state)
        lines, nodes, focus = np.zeros((0, CHUNK_FRAMES)), np.zeros((0, CHUNK_FRAMES)), np.zeros((1, CHUNK_FRAMES))
        if p.lines:
            rates = self._scene.process_rate_hz[:, None] / self._rate_hz
            fired = generator(p.seed, _PROCESS_SPIKES, k).poisson(rates, (len(rates), CHUNK_FRAMES))
            lines, lines_state = self._respond(fired, self._scene.process_amplitude, lines_state)
        if p.neuropil_follows:
            nodes, nodes_state = self._node_courses(k, calcium, nodes_state)
        if p.z_drift:
            white = generator(p.seed, _FOCUS, k).standard_normal((1, CHUNK_FRAMES))
            focus, focus_state = smooth_course(white, _FOCUS_S * self._rate_hz, focus_state)
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
        `P_indices`, `P_indptr`, `P_shape` the processes, spines behind them, and `P_C` (P, T) their light in photons ·
        `focus` (T,) and
        `depth` (K,) · `line_shift_px` (T, y) · of an animal `animal_cell` (K,), the number of each cell on all days,
        and `day_turn_deg`, `day_shift_px` (2,), how the day's field lies in the animal's.

        Of several planes what is of all cells of the volume stands once, with `position_z_um` (K,), the depth of each
        below slice 0. What is of a plane stands under its name, `green/0/A_data`: A, `background`, `neuropil_map`,
        P, `P_C`, and of the n cells that it shows `cell` (n,), their row in C, `position_px` (n, 2) and `section` (n,),
        the peak of what it shows; of `red/0` A, `cell`, `position_px`, `section`, `background` with the cells, and
        `label` (n,), their light in units of the tissue's, 0 where there is none. Interleaved slices have `C_of_slices`
        (z, K, T), the calcium when each is taken, of which `C` is the first. With motion in lines, or interleaved, each
        plane has `shift_px`, and with the former `line_shift_px`, of its own, and the common `shift_px` is that of
        slice 0.
        """
        count, p, scene = len(self._scene.position_px), self.params, self._scene
        truth = self._courses(frames) | {
            "position_px": scene.position_px.copy(),
            "amplitude": scene.amplitude.copy(),
            "g": np.full(count, self._g),
            "g_rise": np.full(count, self._r),
            "bleaching": self._bleaching(np.arange(frames)),
        }
        names = ("photons", "read_noise_e", "gain_e_per_adu", "offset_adu", "seed")
        truth |= {name: np.array(getattr(p, name)) for name in names}
        if isinstance(scene, DayScene):
            truth |= {
                "animal_cell": scene.cell,
                "day_turn_deg": np.array(scene.turn_deg),
                "day_shift_px": scene.moved_px,
            }
        if not self.spec.planes:
            return truth | self._columns("A", scene.slices[0].footprints) | self._indicator_truth(0, frames)
        truth["position_z_um"] = scene.z_um.copy()
        for plane in self.spec.planes:
            own = self._plane_truth(plane, frames)
            truth |= {f"{plane.name}/{name}": array for name, array in own.items()}
        return truth

    def _courses(self, frames: int) -> dict[str, np.ndarray]:
        """What changes from frame to frame, by name."""
        count = len(self._scene.position_px)
        truth: dict[str, np.ndarray] = {
            "C": np.empty((count, frames), np.float32),
            "spikes": np.empty((count, frames), np.uint16),
            "shift_px": np.empty((frames, 2)),
            "neuropil": np.empty(frames),
        }
        every = self._moments
        if every > 1:
            truth["C_of_slices"] = np.empty((every, count, frames), np.float32)
            truth["spikes"][:] = 0
        for k, chunk in enumerate(self._new_timeline().chunks(frames * every)):
            for moment in range(every):
                first = -(k * CHUNK_FRAMES - moment) % every  # of the chunk, that is this moment of a frame
                at = np.arange(first, len(chunk.calcium), every)
                frame = (k * CHUNK_FRAMES + at - moment) // every
                at, frame = at[frame < frames], frame[frame < frames]
                if every > 1:
                    truth["C_of_slices"][moment, :, frame] = chunk.calcium[at]
                    truth["spikes"][:, frame] += chunk.spikes[at].T
                if not moment:
                    truth["C"][:, frame], truth["neuropil"][frame] = chunk.calcium[at].T, chunk.neuropil[at]
                    truth["shift_px"][frame] = chunk.shift_px[at]
                    if every == 1:
                        truth["spikes"][:, frame] = chunk.spikes[at].T
        return truth

    def _plane_truth(self, plane: Plane, frames: int) -> dict[str, np.ndarray]:
        """What is of one plane of several alone, by name."""
        scene, here = self._scene, self._scene.slices[plane.z]
        cells = np.flatnonzero(np.diff(here.footprints.indptr))
        shown = here.footprints[:, cells]
        truth = self._columns("A", shown) | {
            "cell": cells,
            "position_px": scene.position_px[cells],
            "section": shown.max(0).toarray().ravel() if len(cells) else np.zeros(0, np.float32),
        }
        if self.params.line_motion_px or self._moments > 1:
            truth["shift_px"] = np.array([self._shift_px(t, plane.z) for t in range(frames)])
        if plane.channel == "green":
            return truth | self._indicator_truth(plane.z, frames)
        lines = self._line_truth(plane.z, frames)
        return truth | lines | {"background": scene.inside(here.structure).copy(), "label": scene.label[cells]}

    def _columns(self, name: str, images: sparse.csc_array) -> dict[str, np.ndarray]:
        """Images of the padded field, as truth on the unshifted field."""
        pixels = np.arange(np.prod(self._scene.field)).reshape(self._scene.field)
        a = images.tocsr()[self._scene.inside(pixels).ravel()].tocsc()
        parts = {"data": a.data, "indices": a.indices, "indptr": a.indptr, "shape": np.array(a.shape)}
        return {f"{name}_{part}": array for part, array in parts.items()}

    def _indicator_truth(self, z: int, frames: int) -> dict[str, np.ndarray]:
        """Truth of a slice of the indicator, with what is off by default, where it is on."""
        p, scene, here = self.params, self._scene, self._scene.slices[z]
        truth = {
            "background": scene.inside(here.background).copy(),
            "neuropil_map": scene.inside(here.neuropil_map).copy(),
        }
        every, first = self._moments, z if self._moments > 1 else 0
        chunks = list(self._new_timeline().chunks(frames * every)) if p.lines or p.z_drift else []
        if p.lines:
            own = slice(z * p.lines, (z + 1) * p.lines)
            truth |= self._columns("P", here.processes)
            truth["P_C"] = np.concatenate([chunk.processes[:, own] for chunk in chunks])[first::every][:frames].T
        if p.z_drift:
            truth["focus"] = np.concatenate([chunk.focus for chunk in chunks])[:frames]
            truth["depth"] = scene.focus_depth.copy()
        return truth | self._line_truth(z, frames)

    def _line_truth(self, z: int, frames: int) -> dict[str, np.ndarray]:
        if not self.params.line_motion_px:
            return {}
        return {"line_shift_px": np.array([self._line_shift(t, z) for t in range(frames)])}
