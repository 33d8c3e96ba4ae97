"""Photon counts of spots at known positions in crops, compatible with smlmlp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ConfigError, FrameError, did_you_mean
from .kernels.crops import ROUNDING_ADU2
from .kernels.integration import METHODS, MODELS, SpotColumns, integrate_stack
from .spline import NO_SPLINE, checked_spline

_NONE = np.array([np.nan])
_ZERO = np.zeros(1)
_SIGMA_Y = SpotColumns._fields.index("sigma_y_nm")
_CHANNEL = (
    "model",
    "method",
    "pixel_nm",
    "gain_e_per_adu",
    "qe",
    "offset_adu",
    "read_noise_e",
    "spline",
    "excess_noise",
)

_NEEDED = {
    "isogauss": ("sigma_x_nm",), "gauss": ("sigma_x_nm", "sigma_y_nm", "theta_deg"), "spline": ("z_nm",),
}  # fmt: skip


class SpotPhotons(NamedTuple):
    """Results of `integrate_crops`, (n,) each: photons, their standard error, background [photons/px], reduced χ²."""

    photons: np.ndarray
    error: np.ndarray
    background: np.ndarray
    chi2: np.ndarray


def integrate_crops(
    crops: Any,
    *,
    x0: Any = 0,
    y0: Any = 0,
    x_nm: Any = None,
    y_nm: Any = None,
    z_nm: Any = None,
    sigma_x_nm: Any = None,
    sigma_y_nm: Any = None,
    theta_deg: Any = 0,
    background: Any = None,
    model: Any = "isogauss",
    pixel_nm: Any = 100.0,
    gain_e_per_adu: Any = 1.0,
    qe: Any = 1.0,
    offset_adu: Any = 0.0,
    read_noise_e: Any = 0.0,
    spline: Any = None,
    method: Any = "weighted",
    channel: Any = None,
    excess_noise: Any = 1.0,
) -> SpotPhotons:
    """Return photons, error, background and χ² of each crop, in the order of detection.

    crops (n, y, x) in ADU, NaN where a pixel is missing; pixel (0, 0) has its centre at (y0, x0) · pixel_nm. Positions,
    widths and `background` (photons per pixel) are one for each crop, or one for all.
    `model`: isogauss (sigma_x_nm), gauss (sigma_x_nm, sigma_y_nm along axes turned by theta_deg) or spline
    (coefficients (z, y, x) and their cubic knots tz, ty, tx in nm, as a tuple, a mapping or the path of an .npz).
    `method`:

    - weighted: Σ p (crop − background) / Σ p², p normalised in the crop, as smlmlp defines it; photons in the crop.
    - border: Σ (crop − median of the outermost pixels), without positions; photons in the crop; χ² is NaN.
    - ml: maximum likelihood with shot and read noise; all photons of the spot, also those outside the crop; the
      background is fitted with them where it is None.

    For several channels `crops` is a list of such stacks, of different sizes if need be, and any other argument may be
    a list with one entry for each; `channel` (n,) says which channel, from 1 on, each detection is of (default: one
    channel after the other). `excess_noise` is 2 behind an EM register. χ² is divided by the degrees of freedom. Cost:
    .4 µs a crop of 11 × 11, weighted. Raises
    FrameError or ConfigError, for example for positions that are NaN or outside their crop.
    """
    spots = SpotColumns(y0, x0, y_nm, x_nm, z_nm, sigma_y_nm, sigma_x_nm, theta_deg, background)
    optics = (model, method, pixel_nm, gain_e_per_adu, qe, offset_adu, read_noise_e, spline, excess_noise)
    if isinstance(crops, list | tuple):
        return _channels(crops, spots, optics, channel)
    if channel is not None:
        raise ConfigError("integrate_crops: channel is for a list of stacks, one for each channel")
    return SpotPhotons(*_one_channel(crops, spots, optics))


def _channels(stacks: Sequence[Any], spots: SpotColumns, optics: tuple[Any, ...], channel: Any) -> SpotPhotons:
    for name, value in zip((*SpotColumns._fields, *_CHANNEL), (*spots, *optics), strict=True):
        if isinstance(value, list) and len(value) != len(stacks):
            raise ConfigError(f"integrate_crops: {name} is a list of {len(value)}, crops are of {len(stacks)} channels")
    parts = []
    for c, stack in enumerate(stacks):
        columns, params = ([v[c] if isinstance(v, list) else v for v in values] for values in (spots, optics))
        parts.append(_one_channel(stack, SpotColumns(*columns), tuple(params)))
    counts = [part.shape[1] for part in parts]
    order = np.repeat(np.arange(1, len(parts) + 1), counts) if channel is None else np.asarray(channel)
    found = [int((order == c + 1).sum()) for c in range(len(parts))]
    if order.ndim != 1 or found != counts or len(order) != sum(counts):
        raise ConfigError(f"integrate_crops: channel (from 1 on) names {found} detections, crops hold {counts}")
    out = np.empty((4, len(order)))
    for c, part in enumerate(parts):
        out[:, order == c + 1] = part
    return SpotPhotons(*out)


def _one_channel(crops: Any, columns: SpotColumns, optics: tuple[Any, ...]) -> np.ndarray:
    """Return photons, error, background and χ² (4, n) of one channel."""
    model, method, pixel_nm, gain, qe, offset, read_noise, spline, excess = optics
    stack = crop_stack(crops, "integrate_crops")
    method_code, model_code = _code(METHODS, method, "method"), _code(MODELS, model, "model")
    if method == "weighted" and columns.background is None:
        raise ConfigError('integrate_crops: method "weighted" needs the background; "ml" fits it')
    if model == "isogauss" or columns.sigma_y_nm is None:
        values = (*columns[:_SIGMA_Y], columns.sigma_x_nm, *columns[_SIGMA_Y + 1 :])
    else:
        values = columns
    count = len(stack)
    spots = tuple([_column(name, value, count) for name, value in zip(SpotColumns._fields, values, strict=True)])
    pixel_y, pixel_x = (pixel_nm, pixel_nm) if type(pixel_nm) in (float, int) else np.broadcast_to(pixel_nm, 2)
    gain, qe, offset, pixels = float(gain), float(qe), float(offset), (float(pixel_y), float(pixel_x))
    if not (min(*pixels, gain, qe) > 0 and read_noise >= 0 and excess >= 1):
        found = f"pixel_nm {pixel_nm}, gain_e_per_adu {gain}, qe {qe}, read_noise_e {read_noise}, excess_noise {excess}"
        wanted = "pixel, gain and qe are positive, read noise not negative, excess noise at least 1"
        raise ConfigError(f"integrate_crops: {wanted}, found {found}")
    variance = float(read_noise) ** 2 + gain**2 * ROUNDING_ADU2
    psf = (model_code, pixels, tuple(checked_spline(spline) if model == "spline" else NO_SPLINE))
    out = np.empty((4, count))
    wrong = integrate_stack(stack, method_code, psf, (gain, offset, variance, float(excess), qe), spots, out)
    if wrong >= 0:
        raise FrameError(f"integrate_crops: {_reason(stack, wrong, model, method, pixels, spots)}")
    return out


def crop_stack(crops: Any, where: str) -> np.ndarray:
    """Return crops as a contiguous array (n, y, x) float64. Raises FrameError.

    Converting takes .1 µs a crop of 11 × 11; kernels for another type of pixels take 2 to 4 s to compile.
    """
    stack = np.asarray(crops)
    if stack.ndim != 3 or 0 in stack.shape[1:]:
        raise FrameError(f"{where}: crops are (n, y, x), found {stack.shape}")
    if stack.dtype.kind not in "biuf":
        raise FrameError(f"{where}: crops hold numbers, found {stack.dtype}")
    return np.ascontiguousarray(stack, np.float64)


def _code(known: tuple[str, ...], value: Any, name: str) -> int:
    if value not in known:
        raise ConfigError(f"integrate_crops: no {name} {value!r}{did_you_mean(str(value), known)}")
    return known.index(value)


def _column(name: str, value: Any, count: int) -> np.ndarray:
    """Return a column (n,), or (1,) of one number for all crops; NaN for None."""
    if value is None:
        return _NONE
    if type(value) in (float, int):
        return np.array((value,), np.float64) if value else _ZERO
    if type(value) is np.ndarray and value.dtype == np.float64 and value.shape == (count,):
        return value if value.flags.c_contiguous else value.copy()
    try:
        column = np.asarray(value, float)
    except (TypeError, ValueError):
        raise ConfigError(f"integrate_crops: {name} must be numbers, found {value!r:.60}") from None
    if column.ndim > 1 or (column.ndim == 1 and len(column) != count):
        raise ConfigError(f"integrate_crops: {name} needs one number, or one for each of {count} crops, found "
                          f"{column.shape}")  # fmt: skip
    return np.ascontiguousarray(column).reshape(-1)


def _reason(
    stack: np.ndarray, k: int, model: str, method: str, pixel_nm: tuple[float, float], spots: tuple[np.ndarray, ...]
) -> str:
    """Return the reason why a crop cannot be integrated."""
    value = {
        name: float(column[k if len(column) > 1 else 0])
        for name, column in zip(SpotColumns._fields, spots, strict=True)
    }
    needed = ["y_nm", "x_nm", "y0", "x0", *_NEEDED[model]]
    if method == "weighted":
        needed.append("background")
    for name in needed:
        if not np.isfinite(value[name]):
            raise FrameError(f"integrate_crops: {name} of crop {k} must be a number, found {value[name]}")
    y, x = value["y_nm"] / pixel_nm[0] - value["y0"], value["x_nm"] / pixel_nm[1] - value["x0"]
    height, width = stack.shape[1:]
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        return f"spot {k} lies at ({y:.2f}, {x:.2f}) px of its crop of {height} × {width}: outside"
    if model == "spline":
        return f"spot {k} has z_nm {value['z_nm']:.1f}, outside the spline's knots"
    widths = f"{value['sigma_y_nm']:.4g}, {value['sigma_x_nm']:.4g} nm wide (y, x)"
    return f"the PSF of spot {k} is {widths}; its width must be positive and fit into a crop of {height} × {width} px"
