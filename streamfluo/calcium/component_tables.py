"""Components as tables of pandas and arrays with names of xarray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import SessionError

if TYPE_CHECKING:
    from .extracted_components import ExtractedComponents

VALUES = {
    "traces": "denoised activity [σ]", "raw": "demixed activity [σ]", "spikes": "rate of spikes [σ/s]", "dff": "ΔF/F",
}  # fmt: skip
_OF_EACH = (
    "birth_frame", "snr", "spatial_corr", "accepted", "decision", "decided_by", "structural", "structural_chance",
)  # fmt: skip


def as_pandas(cells: ExtractedComponents, value: str, accepted: bool) -> Any:
    """Return one of VALUES as a DataFrame, a row per frame. Raises SessionError for another one, or without pandas."""
    if value not in VALUES:
        raise SessionError(f"no value {value!r}; there is {', '.join(VALUES)}")
    pandas = _library("pandas")
    kept = cells.accepted if accepted else np.ones(len(cells), bool)
    index = pandas.MultiIndex.from_arrays([cells.frame, cells.t_s], names=["frame", "t_s"])
    return pandas.DataFrame(
        getattr(cells, value)[kept].T, index=index, columns=pandas.Index(cells.ids[kept], name="id")
    )


def table_of(cells: ExtractedComponents) -> Any:
    """Return measures and verdicts as a DataFrame, a row per id. Raises SessionError without pandas."""
    return _library("pandas").DataFrame(cells.columns()).set_index("id")


def as_xarray(cells: ExtractedComponents) -> Any:
    """Return all arrays as a Dataset. Raises SessionError without xarray."""
    xarray = _library("xarray")
    images = np.asarray(cells.footprints.todense(), np.float32).T.reshape(-1, *cells.shape)
    data = {name: (("id", "frame"), getattr(cells, name), {"long_name": said}) for name, said in VALUES.items()}
    measures = {name: ("id", getattr(cells, name)) for name in _OF_EACH}
    coordinates = {"id": cells.ids, "frame": cells.frame, "t_s": ("frame", cells.t_s, {"units": "s"})}
    footprints = (("id", "y", "x"), images, {"units": "ADU per σ"})
    return xarray.Dataset({**data, **measures, "footprints": footprints}, coords=coordinates)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise SessionError(f'needs {name}; install it with pip install "streamfluo[tables]"') from None
