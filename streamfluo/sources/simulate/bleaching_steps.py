"""Spots of a few blinking, bleaching fluorophores each, with their truth: what counting is tried on.

- Numbers: spot s holds y_s fluorophores, drawn evenly from `min_y` … `max_y`.
- Switching, frame by frame: of the fluorophores that are on each first bleaches with probability `p_bleach`, for good;
  of those left each goes off with `p_off`; each that was off comes on with `p_on`. So without bleaching the number on
  follows z(t+1) ~ Binomial(z(t), 1 - p_off) + Binomial(y - z(t), p_on), the hidden Markov chain that blinx counts with
  (github.com/funkelab/blinx; Rabiner 1989, Proc. IEEE 77:257). It begins in equilibrium, all fluorophores alive:
  z(0) ~ Binomial(y, p_on / (p_on + p_off)). A fluorophore that stays on lives 1 / p_bleach frames in the mean
  (bleaching steps: Hummert et al. 2021, Mol. Biol. Cell 32:ar35).
- Light of a spot [detected photons per frame]: I_s(t) = c_s · fluorophore_photons · z_s(t) + spot_background, c_s a
  factor of the spot, log-normal with mean 1 and sd `brightness_sd`.
- `emission=camera`: photons of a pixel = Σ_s I_s(t) · PSF_s(pixel) + `photons`, then shot noise and camera
  (`camera.expose`).
- `emission=lognormal`: the light itself scatters, log I_s(t) ~ N(log(…), `noise_sigma`) with … as above, independent
  between spots and frames; this stands for the shot noise, which is left out, so that with read_noise_e = 0 the light
  of a spot summed over its pixels has that distribution and no other noise.
- PSF: an isotropic Gaussian of `sigma_px` integrated over each pixel (`psf.spot_pixels`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from .camera import CameraParams, Count, camera_spec, digitise, generator, shot_noise
from .psf import spot_images, spread_points
from .timeline import CHUNK_FRAMES, Timeline

_SCENE, _START, _SWITCHING, _EMISSION, _NOISE = range(5)
_PX2_PER_SPOT = 1024  # 256 in 512 × 512
_MARGIN_SIGMA = 5
_TOLD = (
    *("p_on", "p_off", "p_bleach", "spot_background", "noise_sigma", "sigma_px"),
    *("photons", "read_noise_e", "gain_e_per_adu", "offset_adu", "seed"),
)

Probability = Annotated[float, Meta(ge=0, le=1)]
Fluorophores = Annotated[int, Meta(ge=1, le=255)]


class BleachingStepsParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:bleaching-steps`. Raises ValueError if min_y is above max_y."""

    frame_rate_hz: Annotated[float, Meta(gt=0, le=1e6, description="frames per second [Hz]")] = 10.0
    pixel_um: Annotated[float, Meta(gt=0, le=1e3, description="side of a pixel in the sample [µm]")] = 0.1
    spots: Annotated[Count | None, Meta(description="how many; none: one per 1024 px²")] = None
    min_y: Annotated[Fluorophores, Meta(description="fewest fluorophores of a spot")] = 1
    max_y: Annotated[Fluorophores, Meta(description="most fluorophores of a spot")] = 8
    p_on: Annotated[Probability, Meta(description="probability of coming on [/frame]")] = 0.05
    p_off: Annotated[Probability, Meta(description="probability of going off [/frame]")] = 0.08
    p_bleach: Annotated[Probability, Meta(description="probability of bleaching while on [/frame]")] = 0.002
    fluorophore_photons: Annotated[
        float, Meta(ge=0, le=1e6, description="mean detected photons of a fluorophore that is on [/frame]")
    ] = 500.0
    spot_background: Annotated[
        float, Meta(ge=0, le=1e6, description="detected photons of a spot with all fluorophores off [/frame]")
    ] = 0.0
    brightness_sd: Annotated[float, Meta(ge=0, le=2, description="relative sd of brightness between spots")] = 0.0
    emission: Annotated[Literal["camera", "lognormal"], Meta(description="where the noise comes from")] = "camera"
    noise_sigma: Annotated[float, Meta(ge=0, le=2, description="sd of the logarithm of log-normal light")] = 0.05
    sigma_px: Annotated[float, Meta(ge=0.3, le=20, description="sd of the point spread function [px]")] = 1.3

    def __post_init__(self) -> None:
        if self.min_y > self.max_y:
            raise ValueError(f"min_y must not exceed max_y, found {self.min_y} and {self.max_y}")


class Course(NamedTuple):
    """One chunk: fluorophores on and not yet bleached, both (t, S) uint8, and light (t, S) in photons."""

    on: np.ndarray
    alive: np.ndarray
    light: np.ndarray


class BleachingStepsSimulator:
    """Spots that go dark in steps; see the module for the equations."""

    Params: ClassVar[type[CameraParams]] = BleachingStepsParams
    version: ClassVar[int] = 1

    def __init__(self, params: BleachingStepsParams) -> None:
        self.params = p = params
        self.spec = camera_spec(p)
        rng = generator(p.seed, _SCENE)
        count = max(1, round(p.shape[0] * p.shape[1] / _PX2_PER_SPOT)) if p.spots is None else p.spots
        self._position_px = spread_points(count, p.shape, _MARGIN_SIGMA * p.sigma_px, rng)
        self._y = rng.integers(p.min_y, p.max_y, count, endpoint=True)
        spread = np.sqrt(np.log1p(p.brightness_sd**2))
        self._brightness = p.fluorophore_photons * rng.lognormal(-(spread**2) / 2, spread, count)
        self._images = spot_images(self._position_px, p.shape, p.sigma_px)
        self._timeline = self._new_timeline()

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        p = self.params
        frames = np.empty((stop - start, *p.shape), np.uint16)
        for i in range(start, stop):
            light = self._timeline.chunk(i // CHUNK_FRAMES).light[i % CHUNK_FRAMES]
            photons = self._images.dot(light).reshape(p.shape)
            photons += np.float32(p.photons)
            rng = generator(p.seed, _NOISE, i)
            electrons = shot_noise(photons, p, rng) if p.emission == "camera" else photons
            frames[i - start] = digitise(electrons, p.gain_e_per_adu, p.offset_adu, p.read_noise_e, p.bits, rng)
        return frames

    def _new_timeline(self) -> Timeline[Course]:
        p = self.params
        total = p.p_on + p.p_off
        on = generator(p.seed, _START).binomial(self._y, p.p_on / total if total else 1.0)
        return Timeline(self._advance, (on, self._y - on))

    def _advance(self, k: int, state: tuple[np.ndarray, np.ndarray]) -> tuple[Course, tuple[np.ndarray, np.ndarray]]:
        p, (on, off) = self.params, state
        rng = generator(p.seed, _SWITCHING, k)
        ons, alive = np.empty((2, CHUNK_FRAMES, len(on)), np.uint8)
        for t in range(CHUNK_FRAMES):
            ons[t], alive[t] = on, on + off
            if p.p_bleach:
                on = on - rng.binomial(on, p.p_bleach)
            falling, rising = rng.binomial(on, p.p_off), rng.binomial(off, p.p_on)
            on, off = on - falling + rising, off + falling - rising
        light = ons * self._brightness + p.spot_background
        if p.emission == "lognormal":
            light *= np.exp(p.noise_sigma * generator(p.seed, _EMISSION, k).standard_normal(light.shape))
        return Course(ons, alive, light.astype(np.float32)), (on, off)

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name; T frames, S spots.

        `position_px` (S, 2) as (y, x) · `y` (S,) fluorophores · `brightness` (S,) photons per frame of one that is on ·
        `on` (T, S) how many are on, `alive` (T, S) how many have not bleached, both uint8 · `light` (T, S) float32
        photons of the spot, before shot noise · `p_on`, `p_off`, `p_bleach`, `spot_background`, `noise_sigma`,
        `sigma_px`, `photons`, `read_noise_e`, `gain_e_per_adu`, `offset_adu`, `seed`.
        """
        count, p = len(self._y), self.params
        on, alive = np.empty((2, frames, count), np.uint8)
        light = np.empty((frames, count), np.float32)
        for k, chunk in enumerate(self._new_timeline().chunks(frames)):
            here = slice(k * CHUNK_FRAMES, min((k + 1) * CHUNK_FRAMES, frames))
            n = here.stop - here.start
            on[here], alive[here], light[here] = chunk.on[:n], chunk.alive[:n], chunk.light[:n]
        truth = {"position_px": self._position_px.copy(), "y": self._y.copy(), "brightness": self._brightness.copy()}
        truth |= {"on": on, "alive": alive, "light": light}
        return truth | {name: np.array(getattr(p, name)) for name in _TOLD}
