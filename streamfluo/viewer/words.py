"""Names and numbers as a person reads them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_UNITS = {
    "_e_per_adu": "e/ADU", "_adu": "ADU", "_px": "px", "_um": "µm", "_ms": "ms", "_s": "s", "_hz": "Hz", "_e": "e",
}  # fmt: skip


def named(name: str) -> str:
    """Return a name without underscores and without the unit at its end: `shift_px` is shift."""
    return _parts(name)[0]


def labelled(name: str, unit: str = "") -> str:
    """Return a name with its unit, for an axis or a column: `area_px` is area [px]."""
    spelled, own = _parts(name)
    unit = unit or own
    return f"{spelled} [{unit}]" if unit and unit != spelled else spelled


def names_along(axis: str) -> tuple[str, ...]:
    """Return what the places of an axis are called, where its name says it: `yx`, or `accepted, candidates`."""
    return tuple(axis) if axis == "yx" else tuple(axis.split(", ")) if ", " in axis else ()


def figure(value: Any) -> str:
    """Return a value of a table: four digits, and truth as a tick."""
    if isinstance(value, bool | np.bool_):
        return "✓" if value else "–"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if np.isfinite(value) else "–"
    return str(value)


def rounded(value: float) -> str:
    """Return a number as it is read at a glance: three digits, whole from a thousand on."""
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def with_interval(value: float, low: float, high: float) -> tuple[str, str, str]:
    """Return a number and its interval with as many digits as the interval's width is worth."""
    width = high - low
    places = min(max(0, 1 - math.floor(math.log10(width))), 12) if 0 < width < math.inf else 3
    return tuple(f"{one:.{places}f}" for one in (value, low, high))  # type: ignore[return-value]


def _parts(name: str) -> tuple[str, str]:
    name = name.removesuffix("_bins")  # means of those are what is drawn
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix).replace("_", " "), unit
    return name.replace("_", " "), ""
