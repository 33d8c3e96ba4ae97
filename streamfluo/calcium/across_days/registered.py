"""Cells over days: the table, each day's map, and the files of it, those that ROICaT's tools read among them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..component_shapes import contours
from .day import Day
from .field_match import FieldMatch
from .pair_model import Fitted
from .pairs import Placed

COLUMNS = ("session", "component", "cell", "probability", "days", "y_px", "x_px")
LOOSE_RADII = 0.4  # in fields deformed by a cell's radius sd is .5, F1 .7; in others .06 to .3, and above .9
ROICAT_FILE = "streamfluo.tracking.results_clusters.json"


class RegisteredDays:
    """The components of all days and the cells they are.

    A row of `session` (names), `component` (its id of that day), `cell` and `probability` (n,) is a component.
    `probability`: that it is this cell, the mean over the cell's components of other days; of a cell of one day that it
    has no partner. `days` (n,) is on how many days the cell was found, `place_px` (n, 2) where, in the first day's
    field. `pairs` (session and component of both, probability) holds every pair of neighbours on two days; `matches`
    each day's field match by name, `failed` why a day is left out, `common` (days, days) the fraction of a day's cells
    found on another.
    """

    def __init__(
        self, days: Sequence[Day], components: Placed, fit: Fitted, cell: np.ndarray,
        matches: Mapping[str, FieldMatch], failed: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.days_used, self.matches, self.failed = tuple(days), dict(matches), dict(failed)
        self.names = tuple(day.name for day in days)
        self.radius_px = components.radius_px
        self.shape, self.pixel_um = days[0].shape, days[0].pixel_um
        self.day, self.cell, self.place_px = components.day, cell, components.place
        self.component = np.concatenate([day.ids for day in days])
        self.model, self.common = fit.model, fit.common
        self.corner, self.size, self._footprints = components.corner, components.size, components.shape
        self._a, self._b, self._p = fit.pairs.a, fit.pairs.b, fit.probability
        self._distance, self._correlation = fit.pairs.distance, fit.pairs.correlation
        self.days = np.bincount(cell)[cell]
        self.probability = _probabilities(cell, self._a, self._b, self._p)

    def __len__(self) -> int:
        return len(self.cell)

    def __repr__(self) -> str:
        cells = len(np.unique(self.cell))
        several = len(np.unique(self.cell[self.days > 1]))
        return f"<{cells} cells of {len(self.names)} days, {several} on more than one>"

    @property
    def session(self) -> np.ndarray:
        """The name of each component's session (n,) str."""
        return np.array(self.names)[self.day]

    @property
    def pairs(self) -> dict[str, np.ndarray]:
        """Every pair of neighbours on two days, by column: sessions, components, probability, distance, correlation."""
        return {
            "session_a": self.session[self._a], "component_a": self.component[self._a],
            "session_b": self.session[self._b], "component_b": self.component[self._b],
            "probability": self._p, "distance_px": self._distance, "correlation": self._correlation,
        }  # fmt: skip

    @property
    def doubt(self) -> str:
        """What speaks against these cells, "" where nothing does: centres that agree no better than cells are large."""
        if self.model.sd_px < LOOSE_RADII * self.radius_px:
            return ""
        return (
            f"centres of the same cells scatter by {self.model.sd_px:.1f} px along each axis, and a cell's radius is "
            f"{self.radius_px:.1f} px: the fields are deformed more than was found, neighbours may pass for one cell"
        )

    @property
    def pair_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the table that each of `pairs` is of."""
        return self._a, self._b

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The table of components, by column."""
        y, x = self.place_px.T
        columns = (self.session, self.component, self.cell, self.probability, self.days, y, x)
        return dict(zip(COLUMNS, columns, strict=True))

    def contours(self, rows: Iterable[int]) -> list[np.ndarray]:
        """Return the contours (n, yx) [px] of the components of these rows, in the first day's field."""
        return [line + np.array(self.corner) for line in contours(self._footprints, self.size, rows)]

    def ids(self) -> np.ndarray:
        """The id of each cell on each day (cells, days), -1 where it was not found."""
        found = np.full((int(self.cell.max()) + 1, len(self.names)), -1, np.int64)
        found[self.cell, self.day] = self.component
        return found

    def to_pandas(self) -> Any:
        """Return the table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.table)

    def save(self, folder: Path) -> list[Path]:
        """Write cells.csv, pairs.csv, cells.npz, registration.json and ROICaT's results; return their paths.

        cells.npz holds the table with `names`, `ids` (cells, days), `common`, and `pair_probability` of rows `pair_a`,
        `pair_b` of the table.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in ("cells.csv", "pairs.csv", "cells.npz", "registration.json", ROICAT_FILE)]
        _write_csv(paths[0], self.table)
        _write_csv(paths[1], self.pairs)
        y, x = self.place_px.T
        np.savez_compressed(
            paths[2], names=np.array(self.names), session=self.day, component=self.component, cell=self.cell,
            probability=self.probability, y_px=y, x_px=x, ids=self.ids(), common=self.common,
            pair_a=self._a, pair_b=self._b, pair_probability=self._p,
        )  # fmt: skip
        paths[3].write_text(json.dumps(self._facts(), indent=1), encoding="utf-8")
        paths[4].write_text(json.dumps(self.to_roicat()), encoding="utf-8")
        return paths

    def to_roicat(self) -> dict[str, Any]:
        """Return the clusters in ROICaT's words: labels, labels_bySession, labels_dict, quality_metrics.

        As its documentation describes results: a label a component in the order of sessions, -1 where it was found on
        no other day; `labels_dict` from each label to rows.
        """
        several = np.unique(self.cell[self.days > 1])
        label = np.where(self.days > 1, np.searchsorted(several, self.cell), -1)
        by_session = [label[self.day == d].tolist() for d in range(len(self.names))]
        rows = {str(n): np.flatnonzero(label == n).tolist() for n in range(-1, len(several))}
        intra = [float(self.probability[label == n].mean()) for n in range(len(several))]
        return {
            "labels": label.tolist(), "labels_bySession": by_session,
            "labels_dict": {name: found for name, found in rows.items() if found},
            "quality_metrics": {"cluster_labels_unique": list(range(len(several))), "cluster_intra_means": intra,
                                "sample_probabilities": self.probability.tolist()},
        }  # fmt: skip

    def _facts(self) -> dict[str, Any]:
        """What registration.json says: of each day its map and evidence, of pairs the model."""
        first = {"session": self.names[0], "components": int((self.day == 0).sum())}
        days = [first, *(self._day_facts(n, name) for n, name in enumerate(self.names) if n)]
        model = self.model
        of_pairs = {"displacement_sd_px": model.sd_px, "same": model.same._asdict(), "other": model.other._asdict()}
        fractions = [[None if np.isnan(v) else round(float(v), 4) for v in row] for row in self.common]
        return {"days": days, "failed": self.failed, "doubt": self.doubt, "pairs": of_pairs, "common": fractions}

    def _day_facts(self, number: int, name: str) -> dict[str, Any]:
        match = self.matches[name]
        e, m = match.evidence, match.map
        return {
            "session": name, "components": int((self.day == number).sum()), "model": match.model,
            "turn_deg": m.turn_deg, "scale": m.scale, "matrix": m.matrix.tolist(), "offset_px": m.offset.tolist(),
            "displacement_px": None if m.displacement is None else m.displacement.tolist(),
            "displacement_origin_px": list(m.origin), "displacement_spacing_px": m.spacing,
            "correlation": e.correlation, "overlap": e.overlap, "sigma_above_chance": e.sigma,
            "chance": e.chance.tolist(), "peak": e.peak, "patches": match.patches,
            "residual_px": None if np.isnan(match.residual_px) else match.residual_px,
        }  # fmt: skip


def _probabilities(cell: np.ndarray, a: np.ndarray, b: np.ndarray, p: np.ndarray) -> np.ndarray:
    same = cell[a] == cell[b]
    total = np.bincount(a[same], p[same], len(cell)) + np.bincount(b[same], p[same], len(cell))
    others = np.bincount(cell)[cell] - 1
    most = np.zeros(len(cell))
    np.maximum.at(most, a, p)
    np.maximum.at(most, b, p)
    return np.asarray(np.where(others > 0, total / np.maximum(others, 1), 1 - most))


def _write_csv(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        rows = ([f"{v:.4f}" if isinstance(v, float) else v for v in row] for row in zip(
            *(column.tolist() for column in columns.values()), strict=True))  # fmt: skip
        writer.writerows(rows)
