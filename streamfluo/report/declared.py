"""A step's section from its declaration alone, for operators that name no report of their own: pictures, curves and
numbers as `gives` says what they are, in the order that `presents` has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.findings import Figure, Findings, Number, Rows, counted, middle, spelled
from ..core.operator import Gives, Presents
from ..core.step_values import IDS
from ..pixels.report import COLOURS, POINTS, chart, curves, picture, stack
from .overlays import Over, overlay_of
from .recorded import ReadStep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES, CHARTS, NUMBERS, TRACES = 4, 3, 24, 20
_UNIT_SUFFIXES = ("_e_per_adu", "_adu", "_px", "_um", "_ms", "_s", "_hz", "_e")


def named(name: str) -> str:
    """Return a name as it is read: without underscores and the unit at its end."""
    suffix = next((end for end in _UNIT_SUFFIXES if name.endswith(end) and len(name) > len(end)), "")
    return name.removesuffix(suffix).replace("_", " ")


@dataclass
class _Collected:
    """What a section is made of, what lies over its images, and whether it lies over one by now."""

    figures: dict[str, list[Figure]]
    numbers: list[Number]
    sentences: list[str]
    over: Over | None
    laid: bool = False


def declared_findings(step: ReadStep, gives: Sequence[Gives], presents: Presents | None) -> Findings:
    """Return what a step gives, drawn as it is declared; what is presented comes first."""
    first = {name: n for n, name in enumerate((*presents.pictures, *presents.details))} if presents is not None else {}
    images = {given.name for given in gives if given.kind == "snapshot"} & {*(presents.pictures if presents else ())}
    ordered = sorted(gives, key=lambda given: first.get(given.name, len(first)))
    by_name = {given.name: given for given in gives}
    figures: dict[str, list[Figure]] = {"picture": [], "chart": []}
    numbers, sentences, tables, rest = list[Number](), list[str](), list[Rows](), list[str]()
    collected = _Collected(figures, numbers, sentences, overlay_of(step, gives))
    for given in ordered:
        found = step.snapshot.get(given.name) if given.kind == "snapshot" else None
        if given.kind == "snapshot" and found is not None and found.ndim > 1 and images and given.name not in images:
            rest.append(f"{named(given.name)} ({given.meaning})")
        elif given.kind == "snapshot" and found is not None:
            _snapshot(step, given, found, by_name, collected)
        elif given.kind == "per_frame" and (whether := _whether(step, given)) is not None:
            numbers.append(whether)
        elif given.kind == "per_frame" and len(figures["chart"]) < CHARTS:
            figures["chart"] += _per_frame(step, given)
        elif given.kind == "by_id" and len(figures["chart"]) < CHARTS:
            figures["chart"] += _by_id(step, given)
        elif given.kind == "table":
            tables += _table(step, given)
    over = collected.over
    if over is not None and not collected.laid and (mean := step.image("mean")) is not None:
        figures["picture"].insert(0, picture(mean, "Mean", f"With {over.said}.", step.sees.pixel_um, over.draw))
    sentences += [f"Also in the session: {'; '.join(rest)}."] if rest else []
    charts = sorted(figures["chart"][:CHARTS], key=lambda figure: figure.wide)
    shown = [*figures["picture"][:PICTURES], *charts]
    return Findings("", numbers[:NUMBERS], shown, tables, sentences)


def _snapshot(step: ReadStep, given: Gives, found: np.ndarray, by_name: dict[str, Gives], into: _Collected) -> None:
    figures, numbers, sentences = into.figures, into.numbers, into.sentences
    if found.dtype.kind in "US":
        sentences.append(
            f"{named(given.name)}: {found}" if not found.ndim else f"{named(given.name)}: {found.tolist()}"
        )
    elif not found.ndim:
        numbers.append(Number(named(given.name), spelled(found[()]), given.unit, given.meaning))
    elif found.ndim == 2 and given.dims[:1] != ("id",) and given.dims[-1:] != ("edge",):
        if len(figures["picture"]) < PICTURES:
            same = found.shape == step.sees.shape
            title, said = named(given.name), f"{given.meaning[:1].upper()}{given.meaning[1:]}."
            over = into.over if same else None
            said += f" With {over.said}." if over is not None else ""
            into.laid |= over is not None
            pixel_um, draw = step.sees.pixel_um if same else None, over.draw if over is not None else None
            figures["picture"].append(picture(found, title, said, pixel_um, draw, unit=given.unit))
    elif found.ndim == 1 and len(found) <= 4:
        numbers.append(Number(named(given.name), ", ".join(spelled(n) for n in found), given.unit, given.meaning))
    elif found.ndim == 1 and len(figures["chart"]) < CHARTS and given.dims != (given.name,):
        axis = given.dims[0]
        x = step.snapshot.get(axis)
        figures["chart"].append(_curve(given, found, x, by_name.get(axis)))


def _curve(given: Gives, found: np.ndarray, x: np.ndarray | None, axis: Gives | None) -> Figure:
    at = x if x is not None and x.shape == found.shape else np.arange(len(found))
    label = named(given.dims[0]) + (f" [{axis.unit}]" if axis is not None and axis.unit else "")

    def draw(axes: Axes) -> None:
        axes.plot(at, found, ".-" if len(found) <= 64 else "-", color=COLOURS[1], ms=4)
        axes.set(xlabel=label, ylabel=_labelled(given))

    return chart(draw, named(given.name), f"{given.meaning}.", size=(4.6, 2.8), wide=False)


def _whether(step: ReadStep, given: Gives) -> Number | None:
    """In how many frames something was so, of values that say nothing else."""
    values = step.per_frame(given.name)
    known = values[np.isfinite(values)]
    if values.ndim != 1 or not len(known) or not np.isin(known, (0, 1)).all():
        return None
    note = f"of {spelled(len(known))}: {given.meaning}"
    return Number(named(given.name), spelled(int(known.sum())), "frames", note)


def _per_frame(step: ReadStep, given: Gives) -> list[Figure]:
    if len(given.dims) > 2:
        return []
    values = step.per_frame(given.name)
    if not np.isfinite(values).any():
        return []
    columns = values.reshape(len(values), -1)
    names = ["y", "x"] if given.dims[-1:] == ("yx",) else [str(n) for n in range(columns.shape[1])]
    by_name = {names[n]: columns[:, n] for n in range(min(columns.shape[1], len(COLOURS)))}
    return [curves(step.index, by_name, step.interval_s, named(given.name), _labelled(given))]


def _by_id(step: ReadStep, given: Gives) -> list[Figure]:
    """Return traces of the first ids there are."""
    ids: list[int] = []
    parts: list[tuple[np.ndarray, np.ndarray] | int] = []
    for record in step.records():
        found = record.arrays.get(given.name)
        if found is None or IDS not in record.arrays or found.ndim != 2:
            parts.append(record.frames)
            continue
        here = record.arrays[IDS].tolist()
        ids += [i for i in here if i not in ids][: TRACES - len(ids)]
        at = [n for n, i in enumerate(here) if i in ids]
        parts.append((np.array([ids.index(here[n]) for n in at], int), np.array(found[:, at], float)))
    if not ids:
        return []
    rows = np.full((len(step.index), len(ids)), np.nan)
    start = 0
    for part in parts:
        frames = part if isinstance(part, int) else len(part[1])
        if not isinstance(part, int):
            rows[start : start + frames, part[0]] = part[1]
        start += frames
    said = f"{given.meaning}; each from its smallest to its largest value, which stands at the right [{given.unit}]."
    top = [spelled(float(np.nanmax(row))) if np.isfinite(row).any() else "" for row in rows.T]
    about = (named(given.name), said.replace(" []", ""))
    return [stack(step.index, rows, [str(i) for i in ids], top, step.interval_s, about)]


def _table(step: ReadStep, given: Gives) -> list[Rows]:
    """Return how the columns of a table are distributed, over some 10⁵ of its rows."""
    stem, rows = f"{given.name}/", 0
    columns: dict[str, list[np.ndarray]] = {}
    for record in step.records():
        here = {name.removeprefix(stem): a for name, a in record.arrays.items() if name.startswith(stem)}
        count = len(next(iter(here.values()), ()))
        every = 1 + rows // (40 * POINTS)
        rows += count
        for name, array in here.items():
            if array.dtype.kind in "fiub" and name != "frame":
                columns.setdefault(name, []).append(np.array(array[::every], float))
    if not rows:
        return []
    spread = [(named(name), middle(np.concatenate(parts))) for name, parts in columns.items()]
    said = f"{counted(rows, 'row')}: {given.meaning}."
    return [Rows(named(given.name), ("column", "median (5 % to 95 %)"), spread, said)]


def _labelled(given: Gives) -> str:
    return named(given.name) + (f" [{given.unit}]" if given.unit else "")
