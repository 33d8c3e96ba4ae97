"""Localisation tables in the columns of other programs.

- ThunderSTORM (Ovesný et al. 2014): nm from the corner of the first pixel, frames from 1; Picasso's csv2hdf reads it.
- Picasso (Schnitzbauer et al. 2017): px, integers at pixel centres, frames from 0; the columns of its HDF5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import SessionError
from ..core.loaded import RecordedStep

PROGRAMS = ("thunderstorm", "picasso")
NEEDED = {"frame", "y_px", "x_px", "photons", "background", "sigma_px"}
_UNSOUND = 8 | 16  # flags of a fit that did not converge, and of a spot outside the field

Columns = dict[str, np.ndarray]


class Localisations:
    """The localisations of a recorded step, for the programs in `programs`."""

    programs = PROGRAMS

    def __init__(self, step: RecordedStep) -> None:
        self._table = step.values["spots"]

    def columns(self, program: str, pixel_um: float | None) -> Columns:
        """Return the columns by name that a program reads. Raises SessionError where nm need the size of a pixel."""
        return localisations(self._table, program, pixel_um)


def localisations(table: Mapping[str, Any], program: str, pixel_um: float | None) -> Columns:
    """Return a table of spots as a program's columns by name, without rows whose fit failed.

    Raises SessionError if a column or, for nm, the pixel size is missing.
    """
    if missing := NEEDED - table.keys():
        raise SessionError(f"export: the table has no {', '.join(sorted(missing))}")
    columns = {name: np.asarray(column) for name, column in table.items()}
    sound = np.isfinite(columns["y_px"]) & np.isfinite(columns["photons"])
    if "flags" in columns:
        sound &= (columns["flags"] & _UNSOUND) == 0
    columns = {name: column[sound] for name, column in columns.items()}
    unknown = np.full(int(sound.sum()), np.nan)

    def column_of(*names: str) -> np.ndarray:
        return next((columns[name] for name in names if name in columns), unknown)

    make: Callable[[Callable[..., np.ndarray], float | None], Columns]
    make = _thunderstorm if program == "thunderstorm" else _picasso
    return make(column_of, pixel_um)


def _thunderstorm(column_of: Callable[..., np.ndarray], pixel_um: float | None) -> Columns:
    if pixel_um is None:
        raise SessionError("export to thunderstorm: nm need the pixel size; run with [source] pixel_um = …")
    nm = 1000 * pixel_um
    return {
        "id": np.arange(1, len(column_of("frame")) + 1),
        "frame": column_of("frame") + 1,
        "x [nm]": (column_of("x_px") + 0.5) * nm,
        "y [nm]": (column_of("y_px") + 0.5) * nm,
        "sigma [nm]": column_of("sigma_px") * nm,
        "intensity [photon]": column_of("photons"),
        "offset [photon]": column_of("background"),
        "chi2": column_of("chi2"),
        "uncertainty [nm]": 0.5 * nm * (column_of("y_error_px") + column_of("x_error_px")),
    }


def _picasso(column_of: Callable[..., np.ndarray], pixel_um: float | None) -> Columns:
    return {
        "frame": column_of("frame"),
        "x": column_of("x_px"),
        "y": column_of("y_px"),
        "photons": column_of("photons"),
        "sx": column_of("sigma_x_px", "sigma_px"),
        "sy": column_of("sigma_y_px", "sigma_px"),
        "bg": column_of("background"),
        "lpx": column_of("x_error_px"),
        "lpy": column_of("y_error_px"),
    }
