"""The snapshots of `sofi`, by name."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..core.operator import Gives
from .crossed import MAX_GRID_ORDER
from .psf import PsfWidth

if TYPE_CHECKING:
    from .sofi import Sofi, SofiParams

NAME = re.compile(r"(cross_grid_k|lag_k|snr|m|k)(\d)")
RESOLUTION = "FWHM that the PSF gives an image of orders 2, 3 …: the microscope's over √n, not deconvolved"
FWHM = 2.354820045  # of a Gaussian, in σ
IMAGE, GRID = ("y", "x"), ("half_y", "half_x")


def gives(params: SofiParams, lags: int, in_nm: bool = False) -> tuple[Gives, ...]:
    """Return what an operator with these parameters and this number of lags declares, resolution in nm or in px."""
    orders = range(2, params.order + 1)
    found = [
        Gives("frames", "snapshot", (), "", "number of frames in the images"),
        *(Gives(f"k{n}", "snapshot", IMAGE, f"ADU^{n}", f"cumulant of order {n}") for n in orders),
        Gives("mean", "snapshot", IMAGE, "ADU", "mean of each pixel: the widefield image"),
        *(Gives(f"m{n}", "snapshot", IMAGE, f"ADU^{n}", f"central moment of order {n}") for n in orders),
        *(Gives(f"snr{n}", "snapshot", IMAGE, "", f"|k{n}| over its standard error") for n in orders),
        Gives("change", "snapshot", ("order",), "", "change of k2, k3 … while the frames double, over their rms"),
    ]
    for n in range(2, lags + 1):
        found.append(Gives(f"lag_k{n}", "snapshot", IMAGE, f"ADU^{n}", f"cumulant between the frames of {n} lags"))
    if params.cross:
        found += [
            Gives("cross_k2", "snapshot", ("pair", *IMAGE), "ADU²", "covariance of the pixels p + s and p − s"),
            Gives("cross_pairs", "snapshot", ("pair", "yx"), "px", "the offsets s of cross_k2"),
            Gives("psf_sigma_px", "snapshot", (), "px", "σ of the PSF, from the decay of cross_k2 with distance"),
            Gives("resolution", "snapshot", ("order",), "nm" if in_nm else "px", RESOLUTION),
            Gives("psf_status", "snapshot", (), "", "whether it is determined, or undetermined with the reason"),
        ]
        for n in range(2, min(params.order, MAX_GRID_ORDER) + 1):
            what = f"cumulant of order {n} of virtual pixels half a pixel apart"
            found.append(Gives(f"cross_grid_k{n}", "snapshot", GRID, f"ADU^{n}", what))
        found.append(Gives("cross_factors", "snapshot", ("order", *GRID), "", "distance factors by half steps"))
    if params.bleach_fraction is not None:
        found.append(Gives("segments", "snapshot", ("segment", "edge"), "frames", "first index, and one past the last"))
        found.append(Gives("total_signal", "per_frame", ("t",), "ADU", "sum over the pixels of the frame"))
    return tuple(found)


def read(sofi: Sofi, name: str, waiting: np.ndarray, frames: int) -> np.ndarray:
    """Return one snapshot; `waiting`: the power sums of `frames` frames not yet added."""
    if (match := NAME.fullmatch(name)) is not None:
        kind, order = match[1], int(match[2])
        if kind in ("m", "k"):
            return _moment(sofi, order, kind == "k", waiting, frames)
        if kind == "snr":
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.abs(_moment(sofi, order, True, waiting, frames)) / _error(sofi, order, waiting, frames)
        if kind == "lag_k":
            return sofi.lagged.cumulant(order)  # type: ignore[union-attr]
        return sofi.crossed.grid(order, _psf(sofi, waiting, frames).sigma_px)  # type: ignore[union-attr]
    if name == "frames":
        return np.array(sofi.power.n + frames)
    if name == "mean":
        return sofi.power.read(1, False, waiting, frames)
    if name == "change":
        return _change(sofi, waiting, frames)
    if name == "segments":
        return sofi.segments.bounds()  # type: ignore[union-attr]
    crossed = sofi.crossed
    assert crossed is not None
    if name == "cross_k2":
        return crossed.pair_images()
    if name == "cross_pairs":
        return np.array(crossed.pairs)
    if name == "psf_sigma_px":
        return np.array(_psf(sofi, waiting, frames).sigma_px)
    if name == "resolution":
        side = 1000 * sofi.spec.pixel_um if sofi.spec.pixel_um is not None else 1.0
        return np.asarray(
            FWHM * side * _psf(sofi, waiting, frames).sigma_px / np.sqrt(np.arange(2, sofi.params.order + 1))
        )
    if name == "psf_status":
        return np.array(_psf(sofi, waiting, frames).status)
    sigma_px = _psf(sofi, waiting, frames).sigma_px
    return np.stack([crossed.factors(n, sigma_px) for n in crossed.orders])


def _psf(sofi: Sofi, waiting: np.ndarray, frames: int) -> PsfWidth:
    assert sofi.crossed is not None
    if sofi.segments is not None:
        return sofi.crossed.psf(sofi.segments.averages()[0, 0])
    return sofi.crossed.psf(sofi.power.read(2, False, waiting, frames))


def compile_results(sofi: Sofi, waiting: np.ndarray) -> None:
    """Compile the kernels of reading, on empty sums."""
    power = sofi.power
    power.read(2, True, waiting, 1)
    power.compile_marks(waiting, sofi.batches)


def _moment(sofi: Sofi, order: int, cumulant: bool, waiting: np.ndarray, frames: int) -> np.ndarray:
    power = sofi.power
    if cumulant and sofi.params.noise == "lag":
        return sofi.lagged.cumulant(order)  # type: ignore[union-attr]

    def plain(n: int) -> np.ndarray:
        if sofi.segments is not None:
            return sofi.segments.averages()[int(cumulant), n - 2]
        return power.read(n, cumulant, waiting, frames)

    if cumulant and sofi.noise is not None:
        mean = power.read(1, False, waiting, frames)
        return sofi.noise.correct(order, mean, [plain(n) for n in range(2, order + 1)])
    return plain(order)


def _error(sofi: Sofi, order: int, waiting: np.ndarray, frames: int) -> np.ndarray:
    """Return the standard error of k_order (y, x); NaN before there are two batches."""
    if sofi.params.noise == "lag":
        marks_n, marks = sofi.batches.read()
        return _jackknife(sofi, order, marks_n, marks[: len(marks_n)])
    return sofi.power.error(order, waiting, frames, sofi.batches)


def _jackknife(sofi: Sofi, order: int, marks_n: np.ndarray, marks: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the standard error of a lagged cumulant by the jackknife over batches (Miller 1974, Biometrika 61:1)."""
    lagged = sofi.lagged
    assert lagged is not None
    total, n = lagged.products.plain(), lagged.products.n
    edges = [(0, np.zeros_like(total)), *zip(marks_n.tolist(), marks, strict=True), (n, total)]
    left_out = [
        lagged.cumulant(order, total - (after - before), n - (b - a))
        for (a, before), (b, after) in pairwise(edges)
        if a < b < n or 0 < a < b
    ]
    if len(left_out) < 2:
        return np.full(sofi.spec.shape, np.nan)
    spread = np.stack(left_out)
    batches = len(spread)
    return np.asarray(np.sqrt((batches - 1) / batches * ((spread - spread.mean(0)) ** 2).sum(0)))


def _change(sofi: Sofi, waiting: np.ndarray, frames: int) -> np.ndarray:
    """Return rms(k now − k half-way) / rms(k now) of each order, which estimates the current relative error.

    Half-way is the mark nearest to half the frames: at a part f of them the difference is √(1/f − 1) errors, by which
    it is divided.
    """
    orders = sofi.params.order - 1
    lagged = sofi.lagged if sofi.params.noise == "lag" else None
    n = lagged.products.n if lagged is not None else sofi.power.n + frames
    marks_n, marks = sofi.batches.frames_and_sums()
    inside = [k for k, count in enumerate(marks_n) if 0 < count < n]
    if not inside:
        return np.full(orders, np.nan)
    half = min(inside, key=lambda k: abs(marks_n[k] - n / 2))
    then, count = marks[half], int(marks_n[half])
    if lagged is not None:
        squares, then = np.zeros((orders, 2)), sofi.batches.host(then)
        for k in range(orders):
            now = lagged.cumulant(k + 2)
            squares[k] = np.nansum((now - lagged.cumulant(k + 2, then, count)) ** 2), np.nansum(now**2)
    else:
        squares = sofi.power.changes(waiting, frames, then, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(squares[:, 0] / squares[:, 1] / (n / count - 1)))
