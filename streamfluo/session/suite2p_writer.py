"""Writing cells as a plane of Suite2p's folder.

In that format `stat.npy` and `ops.npy` are arrays of objects, which numpy pickles: dicts of numbers and arrays here.
They are only ever written; nothing of ours reads such a file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .cell_writers import Components


def write_suite2p(folder: Path, cells: Components, rate_hz: float | None, planes: int) -> list[Path]:
    """Write F, Fneu, spks, iscell, stat and ops of all components into the folder of a plane, and return the files.

    F is the demixed activity in noise σ, without neuropil and background: Fneu is 0. `lam` is in ADU per σ, so that
    lam · F is in ADU. iscell says which are accepted, redcell which are of a structural channel, where there is one.
    Raises OSError.
    """
    arrays: dict[str, np.ndarray] = {
        "F": cells.raw.astype(np.float32),
        "Fneu": np.zeros(cells.raw.shape, np.float32),
        "spks": cells.spikes.astype(np.float32),
        "iscell": np.stack([cells.accepted, cells.accepted], 1).astype(np.float64),
        "stat": _objects(_stats(cells)),
        "ops": np.array(_ops(cells, rate_hz, planes), object),
    }
    if np.isfinite(cells.structural_chance).any():
        arrays["redcell"] = np.stack([cells.structural, np.nan_to_num(cells.structural_chance)], 1).astype(np.float64)
    written = [folder / f"{name}.npy" for name in arrays]
    for path, array in zip(written, arrays.values(), strict=True):
        np.save(path, array, allow_pickle=array.dtype == object)
    return written


def _objects(dicts: list[dict[str, Any]]) -> np.ndarray:
    array = np.empty(len(dicts), object)
    array[:] = dicts
    return array


def _stats(cells: Components) -> list[dict[str, Any]]:
    footprints, width = cells.footprints.tocsc(), cells.shape[1]
    covered = np.bincount(footprints.indices, minlength=footprints.shape[0])
    mean_px = max(float(np.diff(footprints.indptr).mean()), 1.0) if footprints.shape[1] else 1.0
    found = []
    for k in range(footprints.shape[1]):
        part = slice(*footprints.indptr[k : k + 2])
        pixel, lam = footprints.indices[part], footprints.data[part].astype(np.float32)
        y, x = (at.astype(np.int32) for at in np.divmod(pixel, width))
        trace = np.asarray(cells.raw[k], float)
        shape = _shape(y, x, lam)
        found.append(
            {
                "ypix": y, "xpix": x, "lam": lam, "overlap": covered[pixel] > 1, "npix": len(pixel),
                "npix_norm": len(pixel) / mean_px, "std": float(trace.std()) if trace.size else 0.0,
                "skew": _skew(trace), **shape, "id": int(cells.ids[k]), "snr": float(cells.snr[k]),
            }
        )  # fmt: skip
    return found


def _shape(y: np.ndarray, x: np.ndarray, lam: np.ndarray) -> dict[str, Any]:
    """Median pixel, radius [px] and aspect ratio of a Gaussian with the footprint's second moments, compactness.

    The radius is that of 2σ along the long axis; the compactness the mean distance from the centre over that of a disc
    of as many pixels.
    """
    if not len(y):
        return {"med": [0, 0], "radius": 0.0, "aspect_ratio": 1.0, "compact": 1.0}
    at = np.stack([y, x]).astype(float)
    weight = np.maximum(lam, 0) / max(float(np.maximum(lam, 0).sum()), 1e-12)
    off = at - (at * weight).sum(1, keepdims=True)
    minor, major = np.sqrt(np.maximum(np.linalg.eigvalsh((off * weight) @ off.T), 1 / 12))  # a pixel alone has 1/12
    disc = 2 / 3 * math.sqrt(len(y) / math.pi)
    middle = [int(np.median(y)), int(np.median(x))]
    compact = max(1.0, float(np.hypot(*(at - at.mean(1, keepdims=True))).mean()) / disc)
    return {"med": middle, "radius": 2 * float(major), "aspect_ratio": float(major / minor), "compact": compact}


def _skew(trace: np.ndarray) -> float:
    off = trace - trace.mean() if trace.size else trace
    spread = float((off**2).mean()) if trace.size else 0.0
    return float((off**3).mean() / spread**1.5) if spread > 0 else 0.0


def _ops(cells: Components, rate_hz: float | None, planes: int) -> dict[str, Any]:
    height, width = cells.shape
    image = np.nan_to_num(cells.background).astype(np.float32)
    return {
        "Ly": height, "Lx": width, "nframes": len(cells.frame), "fs": rate_hz or 0.0, "nplanes": planes, "nchannels": 1,
        "meanImg": image, "yrange": [0, height], "xrange": [0, width], "neucoeff": 0.0, "anatomical_only": 0,
    }  # fmt: skip
