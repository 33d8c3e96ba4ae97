"""Which series of images of one or two photons an NWB file has. A door to h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PHOTONS = ("OnePhotonSeries", "TwoPhotonSeries")
MAX_SERIES = 1000


def image_series(path: Path) -> list[str] | None:
    """Return the datasets of an NWB's raw series of one or two photons, as `?dataset=` names them, in their order.

    Those of `acquisition`: what was corrected or derived is no recording. None for a file that cannot be read.
    """
    try:
        import h5py

        with h5py.File(path, "r") as file:
            raw = file.get("acquisition")
            if not isinstance(raw, h5py.Group):
                return []
            return [found for name in list(raw)[:MAX_SERIES] if (found := _dataset(raw.get(name), h5py))]
    except (ImportError, OSError, RuntimeError, KeyError, ValueError):
        return None


def _dataset(series: Any, h5py: Any) -> str:
    """The dataset of a series, the series itself where its frames lie in other files; "" for another thing."""
    if not isinstance(series, h5py.Group):
        return ""
    kind = series.attrs.get("neurodata_type", "")
    kind = kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)
    if kind not in PHOTONS:
        return ""
    name = str(series.name)
    return name if "external_file" in series else f"{name}/data"
