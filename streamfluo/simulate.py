"""Simulated recordings with their truth, for notebooks and tests; long series stream from `open_source("sim:…")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .core.params import build_params
from .sources.simulate.emitter_traces import Dyes, Light, emitter_traces
from .sources.simulate.source import SIMULATORS, render

__all__ = ["Dyes", "Light", "bleaching_steps", "blinking", "calcium", "emitter_traces", "gain", "spots", "voltage"]

Movie = tuple[np.ndarray, Mapping[str, np.ndarray]]


def calcium(frames: int = 500, **params: Any) -> Movie:
    """Return a calcium movie (frames, y, x) uint16 and its truth by name, as `sim:calcium` streams them.

    Parameters are those of `sources.simulate.calcium.CalciumParams`, names in the truth those of
    `CalciumSimulator.truth`. The whole movie is in memory at once. Raises ConfigError for a parameter that is unknown
    or out of range. All of this holds for the other simulators here in the same way. With `channels=2` or several
    slices the movie is (planes, frames, y, x), slice by slice, of each the channels red and green.

        movie, truth = calcium(frames=300, shape=(128, 128), seed=3)
    """
    return _simulate("calcium", frames, params)


def blinking(frames: int = 500, **params: Any) -> Movie:
    """Return a movie of blinking fluorophores (frames, y, x) uint16 and its truth, as `sim:blinking` streams them.

    Parameters: `sources.simulate.blinking.BlinkingParams`; truth: `BlinkingSimulator.truth`.

        movie, truth = blinking(frames=2000, shape=(64, 64), k_on_hz=2.5, k_off_hz=7.5, k_bleach_hz=0.1)
    """
    return _simulate("blinking", frames, params)


def gain(frames: int = 800, **params: Any) -> Movie:
    """Return a photon transfer series (frames, y, x) uint16 and its truth, as `sim:gain` streams them.

    Parameters: `sources.simulate.gain.GainParams`; truth: `GainSimulator.truth`.

        movie, truth = gain(frames=900, dark_frames=100, levels=8, gain_sd=0.05, offset_sd_adu=2)
    """
    return _simulate("gain", frames, params)


def spots(frames: int = 500, **params: Any) -> Movie:
    """Return a movie of spots (frames, y, x) uint16 and its truth, a table, as `sim:spots` streams them.

    Parameters: `sources.simulate.spots.SpotsParams`; truth: `SpotsSimulator.truth`.

        movie, truth = spots(frames=200, motion="diffusing", step_px=0.5, spot_photons=800)
    """
    return _simulate("spots", frames, params)


def bleaching_steps(frames: int = 1000, **params: Any) -> Movie:
    """Return a movie of spots that bleach in steps (frames, y, x) uint16 and its truth, as `sim:bleaching-steps`.

    Parameters: `sources.simulate.bleaching_steps.BleachingStepsParams`; truth: `BleachingStepsSimulator.truth`.

        movie, truth = bleaching_steps(frames=1000, shape=(128, 128), max_y=5, p_bleach=0.001)
    """
    return _simulate("bleaching-steps", frames, params)


def voltage(frames: int = 2000, **params: Any) -> Movie:
    """Return a voltage movie (frames, y, x) uint16 and its truth, as `sim:voltage` streams them.

    Parameters: `sources.simulate.voltage.VoltageParams`; truth: `VoltageSimulator.truth`.

        movie, truth = voltage(frames=4000, shape=(48, 96), snr=5, spike_rate_hz=10)
    """
    return _simulate("voltage", frames, params)


def _simulate(name: str, frames: int, params: Mapping[str, Any]) -> Movie:
    kind = SIMULATORS[name]
    built = build_params(kind.Params, {"frames": frames, **params}, f"simulate.{name.replace('-', '_')}")
    simulator = kind(built)
    planes = [render(simulator, 0, frames, n) for n in range(len(simulator.spec.plane_names))]
    return np.stack(planes) if simulator.spec.planes else planes[0], simulator.truth(frames)
