"""Blinking, bleaching fluorophores on filaments or anywhere, with their truth: what SOFI is made from.

Expected photons of frame t at pixel p:

    photons(p, t) = background + Σ_k b_k · f_k(t) · PSF_k(p)

- Switching: each emitter is a Markov process in continuous time, off → on at `k_on_hz`, on → off at `k_off_hz` (the
  random telegraph of Dertinger et al. 2009, PNAS 106:22287), and on → bleached, for good, at `k_bleach_hz`. At frame 0
  none has bleached and each is on with the equilibrium probability p = k_on / (k_on + k_off), the on-ratio of
  Geissbuehler et al. 2012, Opt. Nanoscopy 1:4. Rates far above the frame rate are as exact, at 40 to 80 ns a switch.
- f_k(t) in 0 … 1 is the part of frame t that emitter k was on, integrated exactly over the exposure, which fills the
  frame interval T. Without bleaching the autocovariance of on and off is p (1 - p) exp(-K |τ|), K = k_on + k_off, and
  that of f, x = K T, is p (1 - p) · 2 (x - 1 + e^-x) / x² at lag 0, p (1 - p) · (1 - e^-x)² / x² · e^-(m-1)x at lag m.
- b_k [detected photons per frame while on]: log-normal between emitters, mean `emitter_photons`, relative sd
  `brightness_sd`, constant in time.
- PSF: an isotropic Gaussian of `sigma_px` integrated over each pixel (`psf.spot_pixels`); all a pixel collects adds
  up, so `photons` is the even background alone.
- Filaments: curves in two dimensions whose direction performs a random walk, a worm-like chain of persistence length
  `persistence_px` (Kratky & Porod 1949, Recl. Trav. Chim. Pays-Bas 68:1106; in a plane tangents s apart correlate by
  exp(-s / 2 persistence_px)), each through a random point of the field and on until it leaves it. Emitters lie along
  them at random, `width_px` (sd) to the side. With `structure=random` they are anywhere.
- Camera: `camera.expose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from .camera import CameraParams, Count, camera_spec, expose, generator
from .psf import spot_images
from .telegraph import Rates, equilibrium, run_telegraph
from .timeline import CHUNK_FRAMES, Timeline

_SCENE, _START, _SWITCHING, _NOISE = range(4)
_PX2_PER_EMITTER = 128  # 2048 in 512 × 512: about one per 2 px of the default filaments
_PX_PER_FILAMENT = 64  # of the mean side: 8 filaments in 512 × 512
_MAX_TRUTH = 2**26  # values of on_fraction, 256 MB
_TOLD = (
    *("k_on_hz", "k_off_hz", "k_bleach_hz", "frame_rate_hz", "sigma_px"),
    *("photons", "read_noise_e", "gain_e_per_adu", "offset_adu", "seed"),
)

Rate = Annotated[float, Meta(ge=0, le=1e4)]


class BlinkingParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:blinking`."""

    frame_rate_hz: Annotated[float, Meta(gt=0, le=1e6, description="frames per second [Hz]")] = 50.0
    pixel_um: Annotated[float, Meta(gt=0, le=1e3, description="side of a pixel in the sample [µm]")] = 0.1
    structure: Annotated[Literal["filaments", "random"], Meta(description="where emitters are")] = "filaments"
    emitters: Annotated[Count | None, Meta(description="how many; none: one per 128 px²")] = None
    filaments: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, Meta(description="how many; none: one per 64 px of the side")
    ] = None
    persistence_px: Annotated[float, Meta(ge=1, le=1e6, description="persistence length of filaments [px]")] = 400.0
    width_px: Annotated[float, Meta(ge=0, le=100, description="sd of emitters beside the filament's axis [px]")] = 0.1
    k_on_hz: Annotated[Rate, Meta(description="rate of switching on [1/s]")] = 2.5
    k_off_hz: Annotated[Rate, Meta(description="rate of switching off [1/s]")] = 7.5
    k_bleach_hz: Annotated[Rate, Meta(description="rate of bleaching while on [1/s]")] = 0.0
    emitter_photons: Annotated[
        float, Meta(ge=0, le=1e6, description="mean detected photons of an emitter that is on [/frame]")
    ] = 400.0
    brightness_sd: Annotated[float, Meta(ge=0, le=2, description="relative sd of brightness between emitters")] = 0.0
    sigma_px: Annotated[float, Meta(ge=0.3, le=20, description="sd of the point spread function [px]")] = 1.3


class Switching(NamedTuple):
    """One chunk: on_fraction (t, K) float32, and when each emitter bleached (K,), in frames from 0; inf: not here."""

    on_fraction: np.ndarray
    bleached_at: np.ndarray


class BlinkingSimulator:
    """Emitters that blink on and off on filaments; see the module for the equations."""

    Params: ClassVar[type[CameraParams]] = BlinkingParams
    version: ClassVar[int] = 1

    def __init__(self, params: BlinkingParams) -> None:
        self.params = p = params
        self.spec = camera_spec(p)
        rng = generator(p.seed, _SCENE)
        count = max(1, round(p.shape[0] * p.shape[1] / _PX2_PER_EMITTER)) if p.emitters is None else p.emitters
        self._position_px, self._filament = _place_emitters(count, p, rng)
        spread = np.sqrt(np.log1p(p.brightness_sd**2))
        self._brightness = p.emitter_photons * rng.lognormal(-(spread**2) / 2, spread, count)
        self._images = spot_images(self._position_px, p.shape, p.sigma_px)
        self._rates = Rates(*(rate / p.frame_rate_hz for rate in (p.k_on_hz, p.k_off_hz, p.k_bleach_hz)))
        self._timeline = self._new_timeline()

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        p = self.params
        frames = np.empty((stop - start, *p.shape), np.uint16)
        for i in range(start, stop):
            on = self._timeline.chunk(i // CHUNK_FRAMES).on_fraction[i % CHUNK_FRAMES]
            photons = self._images.dot((on * self._brightness).astype(np.float32)).reshape(p.shape)
            photons += np.float32(p.photons)
            frames[i - start] = expose(photons, p, generator(p.seed, _NOISE, i))
        return frames

    def _new_timeline(self) -> Timeline[Switching]:
        rng = generator(self.params.seed, _START)
        return Timeline(self._advance, equilibrium(self._rates, len(self._position_px), rng))

    def _advance(self, k: int, state: np.ndarray) -> tuple[Switching, np.ndarray]:
        rng = generator(self.params.seed, _SWITCHING, k)
        on_fraction, bleached_at, state = run_telegraph(state, self._rates, CHUNK_FRAMES, rng)
        return Switching(on_fraction, bleached_at + k * CHUNK_FRAMES), state

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name; T frames, K emitters.

        `position_px` (K, 2) as (y, x) · `filament` (K,) which one, -1 for none · `brightness` (K,) photons per frame
        while on · `on_fraction` (T, K) of each frame, left out above 2^26 values · `on_emitters` (T,) its sum over
        emitters · `bleached_at` (K,) in frames from the start of frame 0, inf for those that did not · `k_on_hz`,
        `k_off_hz`, `k_bleach_hz`, `frame_rate_hz`, `sigma_px`, `photons`, `read_noise_e`, `gain_e_per_adu`,
        `offset_adu`, `seed`.
        """
        count, p = len(self._position_px), self.params
        kept = np.empty((frames, count), np.float32) if frames * count <= _MAX_TRUTH else None
        on_emitters, bleached_at = np.empty(frames), np.full(count, np.inf)
        for k, chunk in enumerate(self._new_timeline().chunks(frames)):
            here = slice(k * CHUNK_FRAMES, min((k + 1) * CHUNK_FRAMES, frames))
            on = chunk.on_fraction[: here.stop - here.start]
            on_emitters[here] = on.sum(1, dtype=float)
            if kept is not None:
                kept[here] = on
            bleached_at = np.minimum(bleached_at, chunk.bleached_at)
        bleached_at[bleached_at >= frames] = np.inf
        truth = {
            "position_px": self._position_px.copy(),
            "filament": self._filament.copy(),
            "brightness": self._brightness.copy(),
            "on_emitters": on_emitters,
            "bleached_at": bleached_at,
        }
        if kept is not None:
            truth["on_fraction"] = kept
        return truth | {name: np.array(getattr(p, name)) for name in _TOLD}


def _place_emitters(count: int, params: BlinkingParams, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions (K, 2) inside the field, and the filament of each."""
    sides = np.array(params.shape)
    if params.structure == "random":
        return rng.random((count, 2)) * sides - 0.5, np.full(count, -1)
    filaments = params.filaments or max(1, round(sides.mean() / _PX_PER_FILAMENT))
    points = [_draw_filament(params, rng) for _ in range(filaments)]
    filament = np.repeat(np.arange(filaments), [len(p) for p in points])
    picked = rng.integers(len(filament), size=count)
    y, x, angle = np.concatenate(points)[picked].T
    along, beside = rng.uniform(-0.5, 0.5, count), rng.normal(0, params.width_px, count)
    position = np.stack([y + along * np.sin(angle) + beside * np.cos(angle), x + along * np.cos(angle)], 1)
    position[:, 1] -= beside * np.sin(angle)
    return np.clip(position, -0.5, sides - 0.5), filament[picked]


def _draw_filament(params: BlinkingParams, rng: np.random.Generator) -> np.ndarray:
    """Points 1 px apart (n, 3) as (y, x, angle), both ways from a random point until the field's border."""
    sides = np.array(params.shape)
    start, angle = rng.random(2) * sides - 0.5, rng.uniform(0, 2 * np.pi)
    ways = []
    for heading in (angle, angle + np.pi):
        turns = rng.normal(0, np.sqrt(1 / params.persistence_px), 2 * int(sides.sum()))
        turned = heading + np.cumsum(turns)
        path = start + np.cumsum(np.stack([np.sin(turned), np.cos(turned)], 1), axis=0)
        inside = ((path > -0.5) & (path < sides - 0.5)).all(1)
        length = len(inside) if inside.all() else int(np.argmin(inside))
        ways.append(np.column_stack([path, turned])[:length])
    return np.concatenate([[[*start, angle]], *ways])
