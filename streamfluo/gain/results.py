"""The snapshots of `gain`: the fit and what follows from it, each computed on first access."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..core.spec import Spec
from .fit import fit_photon_transfer
from .kernels.bins import equal_bins, median_and_variance, reference_gain
from .pixel_noise import Dark, Pixels
from .transfer import PhotonTransfer


class Reading:
    """The snapshots by name, from the statistics of a series; None: fewer than two frames.

    frames (n, p): those for the medians of the reference, of the stride `step`; None for the weighted fit.
    """

    def __init__(
        self, spec: Spec, pixels: Pixels | None, dark: Dark | None, bins: int, frames: np.ndarray | None, step: int
    ) -> None:
        self._spec, self._pixels, self._dark, self._bins = spec, pixels, dark, bins
        self._frames, self._step = frames, step

    def value(self, name: str) -> np.ndarray:
        """Return one snapshot; NaN, or no bins, if it is unknown."""
        return np.asarray(getattr(self, name))

    @cached_property
    def _fit(self) -> PhotonTransfer:
        if self._pixels is None:
            return PhotonTransfer("no frames yet")
        return fit_photon_transfer(self._pixels, self._dark)

    @cached_property
    def _medians(self) -> tuple[np.ndarray, np.ndarray] | None:
        return median_and_variance(self._frames) if self._frames is not None and len(self._frames) > 1 else None

    @cached_property
    def _reference(self) -> tuple[float, tuple[float, float], np.ndarray, np.ndarray] | None:
        if self._frames is None:
            return None
        if self._medians is None:
            return np.nan, (np.nan, np.nan), np.empty(0), np.empty(0)
        return reference_gain(*self._medians, self._bins)

    @property
    def gain_e_per_adu(self) -> float:
        return self._fit.gain if self._reference is None else self._reference[0]

    @property
    def gain_interval(self) -> tuple[float, float]:
        return self._fit.interval if self._reference is None else (np.nan, np.nan)

    @property
    def offset_adu(self) -> float:
        return float(np.median(self._dark.offset)) if self._dark is not None else np.nan

    @property
    def read_noise_e(self) -> float:
        return float(self._fit.gain * np.sqrt(self._fit.read_variance))

    @property
    def flicker(self) -> float:
        return self._fit.flicker

    @property
    def frames(self) -> int:
        return self._pixels.frames if self._pixels is not None else 0

    @property
    def status(self) -> str:
        fit, said = self._fit, list(self._fit.notes)
        if self._frames is not None and self._step > 1:
            said.append(f"approximate: medians of every {self._step}th frame")
        notes = f" ({'; '.join(said)})" if said else ""
        return (f"undetermined: {fit.reason}" if fit.reason else "determined") + notes

    @property
    def fit(self) -> tuple[float, float]:
        return (self._fit.slope, self._fit.intercept) if self._reference is None else self._reference[1]

    @cached_property
    def _binned(self) -> tuple[np.ndarray, np.ndarray]:
        pixels = self._pixels
        if self._reference is not None:
            return self._reference[2:]
        if pixels is None:
            return np.empty(0), np.empty(0)
        variance = pixels.variance if self._fit.variance is None else self._fit.variance
        used = ~pixels.saturated & np.isfinite(pixels.mean) if self._fit.used is None else self._fit.used
        return equal_bins(pixels.mean, variance, used, self._bins)

    @property
    def mean_bins(self) -> np.ndarray:
        return self._binned[0]

    @property
    def variance_bins(self) -> np.ndarray:
        return self._binned[1]

    @property
    def variance_bins_fit(self) -> np.ndarray:
        slope, intercept = self.fit
        return slope * self.mean_bins + intercept

    @property
    def mean(self) -> np.ndarray:
        if self._medians is not None:
            return self._image(self._medians[0])
        return self._image(None if self._pixels is None else self._pixels.mean)

    @property
    def variance(self) -> np.ndarray:
        if self._medians is not None:
            return self._image(self._medians[1])
        return self._image(None if self._pixels is None else self._pixels.variance)

    @property
    def gain_map(self) -> np.ndarray:
        if self._medians is None:
            return self._image(self._fit.gains)
        median, variance = self._medians
        return self._image(np.divide(median, variance, out=np.full(median.shape, np.nan), where=variance > 0))

    @property
    def offset_map(self) -> np.ndarray:
        return self._image(self._dark.offset if self._dark is not None else None)

    @property
    def variance_map(self) -> np.ndarray:
        return self._image(self._dark.variance if self._dark is not None else None)

    def _image(self, values: np.ndarray | float | None) -> np.ndarray:
        if values is None:
            return np.full(self._spec.shape, np.nan)
        if np.ndim(values) == 0:
            return np.full(self._spec.shape, values, float)
        return np.asarray(values, float).reshape(self._spec.shape)
