"""The sessions of a catalogue as data of its page: texts and numbers, of which its script makes rows as one looks."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Collection, Sequence
from typing import Any

from ..core.findings import spelled
from ..report.html import Markup, plain
from ..report.summary import duration
from .find import Row
from .measures import CAMERA, FRAMES

RESULTS = 3  # figures of a session in words
FIRST = (
    "cells", "emitters", "spots", "resolution_nm", "resolution_px", "spots_a_frame", "photons", "snr", "precision_px",
    "spikes", "gain_e_per_adu", "offset_adu", "read_noise_e", "motion_px", "valid_share",
)  # fmt: skip
STATES = ("finished", "running", "aborted", "interrupted", "failed", "unreadable", "gone")
_UNITS = {"e_per_adu": "e⁻/ADU", "px": "px", "um": "µm", "nm": "nm", "s": "s", "adu": "ADU", "e": "e⁻", "min": "/min"}


def with_unit(name: str) -> tuple[str, str]:
    """Return the words of a figure's name, and its unit."""
    name = name.replace("snr", "SNR")
    for end, unit in _UNITS.items():
        if name.endswith(f"_{end}") and len(name) > len(end) + 1:
            return name.removesuffix(f"_{end}").removesuffix("_per").replace("_", " "), unit
    return name.replace("_", " "), ""


def rows_text(rows: Sequence[Row], pictured: Collection[int], columns: Sequence[str]) -> Markup:
    """Return sessions as JSON that is text of a page; `columns` are the numbers of each."""
    said = {
        "columns": [plain(name) for name in columns],
        "labels": [plain(with_unit(name)[0]) for name in columns],
        "rows": [_row(row, row.id in pictured, columns) for row in rows],
    }
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(html.escape(text, quote=False))


def state_of(row: Row) -> str:
    """Return a session's state in a word: `gone` where it is not there any more."""
    word = "gone" if row.fields["gone"] else str(row.fields["state"])
    return word if word in STATES else "failed"


def _row(row: Row, pictured: bool, columns: Sequence[str]) -> dict[str, Any]:
    fields = row.fields
    words = [str(fields["path"]), str(fields["rig"] or ""), *row.words.values()]
    return {
        "id": int(row.id),
        "picture": pictured,
        "began": plain(fields["began"] or ""),
        "name": plain(fields["name"] or "(no name)"),
        "said": plain(fields["source"] or fields["reason"] or ""),
        "state": state_of(row),
        "results": _results(row),
        "numbers": [_number(name, row.value(name)) for name in columns],
        "steps": plain(fields["steps"] or ""),
        "rig": plain(fields["rig"] or ""),
        "words": plain(" ".join(words)),
    }


def _number(name: str, value: Any) -> tuple[float, str] | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value, duration(1, float(value)) if name == "duration_s" else spelled(value)


def _results(row: Row) -> list[tuple[str, str, str]]:
    """The main figures of a session in words, those of its last steps before those of the first."""
    found: dict[str, float] = {}
    for step in reversed(row.measures):
        if row.kinds[step] not in (CAMERA, FRAMES):
            found = {**found, **{name: v for name, v in row.measures[step].items() if name not in found}}
    found = {name: v for name, v in found.items() if not (name.endswith("_px") and f"{name[:-3]}_nm" in found)}
    ranked = sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))[:RESULTS]
    said = ((with_unit(name), spelled(found[name])) for name in ranked)
    return [(value, unit, plain(name)) for (name, unit), value in said]
