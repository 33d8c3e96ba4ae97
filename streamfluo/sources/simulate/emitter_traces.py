"""Intensity traces of spots whose fluorophores depart from the model that counting assumes, with their truth.

- Switching: each fluorophore is off, on, dark or bleached. It goes on with `k_on`, off with `k_off`, from on into a
  dark state with `k_dark` and back to off with `k_back`, and bleaches while it is on with `k_bleach`; probabilities per
  frame where `substeps` = 1 (all light of a frame is from one state), rates per frame where it is larger: a frame then
  integrates the light of `substeps` states, and one that switched within is lit in part. Dark states are in
  equilibrium at the start; nothing has bleached. The logarithm of `k_on` has a standard deviation of `on_sd` between
  fluorophores, and of `spot_on_sd` between spots.
- Light of spot s: I_s(t) = L(t) · [(1 − crosstalk) Σ_d b_d on_d(t) + crosstalk · the same of spot s + 1] · mu + mu_bg ·
  L(t) · B(t). b_d has relative sd `dye_sd` between fluorophores; of `dim_share` of them it is `dim` times as much. L
  falls linearly by `illumination_loss`, B rises linearly by `background_drift`.
- Noise: camera, Poisson + N(0, sigma²), in electrons; lognormal, a factor exp N(0, sigma²).

It shares no code with the model that counting fits.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np


class Dyes(NamedTuple):
    """Kinetics per frame, and how brightness differs between the fluorophores of a spot; see the module."""

    k_on: float = 0.05
    k_off: float = 0.08
    k_bleach: float = 0.0
    k_dark: float = 0.0
    k_back: float = 0.01
    substeps: int = 1
    dye_sd: float = 0.0
    dim_share: float = 0.0
    dim: float = 0.5
    on_sd: float = 0.0
    spot_on_sd: float = 0.0


class Light(NamedTuple):
    """Brightness and background [e/frame, or the unit of the traces], noise and drifts; see the module."""

    mu: float = 1000.0
    mu_bg: float = 1000.0
    sigma: float = 15.8
    emission: Literal["camera", "lognormal"] = "camera"
    crosstalk: float = 0.0
    illumination_loss: float = 0.0
    background_drift: float = 0.0


def emitter_traces(
    emitters: np.ndarray, frames: int, dyes: Dyes = Dyes(), light: Light = Light(), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return traces (n, frames) of spots with so many fluorophores (n,), and the mean number on (n, frames).

    traces, on = emitter_traces([1, 2, 3], 1000, Dyes(substeps=20, k_off=0.3), Light(illumination_loss=0.2), seed=1)
    """
    rng = np.random.default_rng(seed)
    counts = np.asarray(emitters, int)
    spot = np.repeat(np.arange(len(counts)), counts)
    brightness = np.maximum(1 + dyes.dye_sd * rng.normal(size=len(spot)), 0.05)
    brightness[rng.random(len(spot)) < dyes.dim_share] *= dyes.dim
    k_on = np.full(len(spot), dyes.k_on)
    if dyes.on_sd or dyes.spot_on_sd:
        own, of_spots = rng.standard_normal(len(spot)), rng.standard_normal(len(counts))
        k_on *= np.exp(dyes.on_sd * own + dyes.spot_on_sd * of_spots[spot])
    lit, on = np.zeros((2, len(counts), frames))
    for t, share in enumerate(_courses(k_on, frames, dyes, rng)):
        on[:, t] = np.bincount(spot, share, len(counts))
        lit[:, t] = np.bincount(spot, share * brightness, len(counts))
    course = np.linspace(0, 1, frames)
    illumination, background = 1 - light.illumination_loss * course, 1 + light.background_drift * course
    seen = (1 - light.crosstalk) * lit + light.crosstalk * np.roll(lit, -1, axis=0)
    mean = illumination * (light.mu * seen + light.mu_bg * background)
    if light.emission == "camera":
        return rng.poisson(mean) + light.sigma * rng.normal(size=mean.shape), on
    return mean * np.exp(light.sigma * rng.normal(size=mean.shape)), on


def _courses(k_on: np.ndarray, frames: int, dyes: Dyes, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """Yield, frame by frame, the part of the frame that each fluorophore was on (n,), with its k_on (n,)."""
    off, on, dark, gone = range(4)
    count = len(k_on)
    weights = np.stack([dyes.k_off / k_on, np.ones(count), np.full(count, dyes.k_dark / dyes.k_back), np.zeros(count)])
    state = (rng.random(count) >= np.cumsum(weights / weights.sum(0), axis=0)).sum(0)
    rates = (k_on, dyes.k_off, dyes.k_dark, dyes.k_back, dyes.k_bleach)
    p_on, p_off, p_dark, p_back, p_bleach = (
        rate if dyes.substeps == 1 else 1 - np.exp(-np.asarray(rate) / dyes.substeps) for rate in rates
    )
    for t in range(frames):
        share = np.zeros(count)
        for n in range(dyes.substeps):
            if t or n:
                draw, was = rng.random(count), state.copy()
                leaves = p_off + p_dark + p_bleach
                state[(was == off) & (draw < p_on)] = on
                state[(was == dark) & (draw < p_back)] = off
                state[(was == on) & (draw < leaves)] = off
                state[(was == on) & (draw < p_dark + p_bleach)] = dark
                state[(was == on) & (draw < p_bleach)] = gone
            share += state == on
        yield share / dyes.substeps
