"""What a page is sent of what operators say: things at places by their value, ticks, gauges, courses over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..viewer.drawn import PlacesGiven
from ..viewer.model import Model
from ..viewer.panels import Panel
from ..viewer.words import labelled, named
from .messages import as_float32, packed

KINDS = ("gauge", "over_time", "histogram", "counts", "chosen")
MAX_PLACES = 5000
MAX_TICKS = 2000  # of a turn, the highest
MAX_LOOKS = 500  # of a course over time
MAX_COURSES = 16
MAX_TRACED = 400  # frames of the chosen place: more would be a solid block
FIRST = {"order": 2}  # where an axis begins: there is no blinking in a mean


def places_over(model: Model, panel: Panel) -> tuple[dict[str, Any], np.ndarray] | None:
    """Return what is known of things at places over a picture: in words, and (n, 4) as y, x [px], value, doubtful.

    None where nothing is known of any yet.
    """
    for of in model.places_over(panel).values():
        places = model.places(of)
        count = min(len(places.yx), MAX_PLACES)
        if count:
            columns = (*places.yx[:count].T, places.value[:count], places.doubtful[:count])
            told = {"value": named(of.value[1]), "most": max(1.0, float(np.nanmax(places.value, initial=1.0)))}
            return told, as_float32(np.stack([np.asarray(column, float) for column in columns], 1))
    return None


def ticks_beneath(model: Model, panel: Panel, ids: list[int], first: int, stop: int) -> np.ndarray | None:
    """Return what stands as ticks beneath these curves at frames from `first` to `stop` − 1: (n, 3) as the place of the
    curve, frame, height; None where a trace has none."""
    by = model.drawn.ticks.get((panel.step, panel.name))
    trace = model.traces.get(f"by_id/{by[0]}/{by[1]}") if by is not None else None
    if trace is None or trace.ids is None or not len(trace):
        return None
    at = {name: column for column, name in enumerate(trace.ids)}
    lanes = [(n, at[name]) for n, name in enumerate(ids) if name in at]
    frames, rows = trace.since(first)
    height = as_float32(rows[frames < stop][:, [column for _, column in lanes]])
    row, lane = np.nonzero(height > 0)  # NaN is not
    found = np.stack([np.array([n for n, _ in lanes], float)[lane], frames[row], height[row, lane]], 1)
    if len(found) > MAX_TICKS:
        found = found[np.sort(np.argpartition(found[:, 2], -MAX_TICKS)[-MAX_TICKS:])]
    return as_float32(found)


def pack_declared(model: Model, dock: Panel, panel: Panel, chosen: int) -> bytes | None:
    """Return the message of a detail that an operator declares; None where nothing is known of it yet.

    `chosen`: the place that the page points out.
    """
    if panel.kind == "gauge":
        return _gauge(model, dock, panel)
    if panel.kind == "over_time":
        return _course(model, dock, panel)
    if panel.kind == "chosen":
        return _chosen(model, dock, panel, chosen)
    values = model.curves.get(panel.id)
    if values is None or values.dtype.kind not in "biuf" or values.ndim != 1 or not len(values):
        return None
    return _histogram(model, dock, panel, values) if panel.kind == "histogram" else _counts(model, dock, panel, values)


def _gauge(model: Model, dock: Panel, panel: Panel) -> bytes | None:
    value = model.values.get(f"{panel.step}/{panel.name}")
    if value is None:
        return None
    look, much = model.drawn.gauges[panel.step, panel.name]
    return packed("gauge", {"detail": dock.id, "value": value, "look": look, "much": much})


def _course(model: Model, dock: Panel, panel: Panel) -> bytes | None:
    trace = model.traces.get(panel.id)
    if trace is None or not len(trace):
        return None
    frames, rows = trace.since()
    step = -(-len(frames) // MAX_LOOKS)
    rows = rows[::-step][::-1][:, :MAX_COURSES]  # the newest is among them
    axis = panel.dims[0] if panel.dims else ""
    names = [f"{named(axis)} {n + FIRST.get(axis, 0)}" for n in range(rows.shape[1])]
    fields = {"detail": dock.id, "names": names, "along": labelled(panel.name, panel.unit)}
    return packed("courses", fields, {"x": as_float32(frames[::-step][::-1]), "y": as_float32(rows)})


def _histogram(model: Model, dock: Panel, panel: Panel, counts: np.ndarray) -> bytes | None:
    at = model.curves.get(f"snapshot/{panel.step}/{panel.dims[0]}")
    if at is None or at.shape != counts.shape or at.dtype.kind not in "biuf":
        return None
    what, unit = panel.name.removesuffix("_histogram"), model.unit(panel.step, panel.dims[0])
    across = f"{named(what)} [{unit}]" if unit not in ("", what) else named(what)
    fields = {"detail": dock.id, "across": across, "along": "", "begins": 0}
    return packed("points", fields, {"x": as_float32(at), "y": as_float32(counts)})


def _counts(model: Model, dock: Panel, panel: Panel, values: np.ndarray) -> bytes:
    of = next((of for of in model.drawn.places.values() if of.value == (panel.step, panel.name)), None)
    doubts = model.doubtful(of, len(values)) if of is not None else np.zeros(len(values), bool)
    known = np.isfinite(np.asarray(values, float))
    whole = np.clip(np.rint(np.where(known, values, 0)), 0, MAX_LOOKS).astype(int)
    most = int(whole.max(initial=0)) + 1
    sure, doubtful = (np.bincount(whole[known & which], minlength=most + 1) for which in (~doubts, doubts))
    told = f"{len(values)} {named(panel.dims[0])}s" + (f", {int(doubts.sum())} doubtful" if doubts.any() else "")
    fields = {"detail": dock.id, "begins": 0, "told": told, "marked": None, "probability": False}
    return packed("bars", fields, {"y": as_float32(sure), "doubtful": as_float32(doubtful)})


def _chosen(model: Model, dock: Panel, panel: Panel, chosen: int) -> bytes | None:
    of = model.drawn.places.get(panel.step)
    chances = model.curves.get(f"snapshot/{of.chances[0]}/{of.chances[1]}") if of is not None and of.chances else None
    if of is None or chances is None or chances.ndim != 2 or chances.dtype.kind not in "biuf" or not len(chances):
        return None
    chosen = chosen if 0 <= chosen < len(chances) else 0
    value, doubtful = _known(model, of, chosen)
    told = f"spot {chosen} of {len(chances)}"
    told += f", {named(of.value[1])} {value:g}" if np.isfinite(value) else ""
    told += ", doubtful or not determined" if doubtful else ""
    along = labelled(of.trace[1], model.unit(*of.trace)) if of.trace is not None else ""
    fields = {"detail": dock.id, "begins": of.first, "told": told, "marked": value, "probability": True, "along": along}
    return packed("bars", fields, {"y": as_float32(chances[chosen]), **_traced(model, of, chosen)})


def _traced(model: Model, of: PlacesGiven, chosen: int) -> dict[str, np.ndarray]:
    """The newest values of a chosen place and what was fitted to them, each with its frames."""
    found: dict[str, np.ndarray] = {}
    for name, at in (("trace", of.trace), ("fitted", of.fitted)):
        trace = model.traces.get(f"by_id/{at[0]}/{at[1]}") if at is not None else None
        if trace is not None and trace.ids is not None and chosen in trace.ids and len(trace):
            frames, rows = trace.since(max(0, int(trace.since()[0][-1]) - MAX_TRACED))
            found |= {f"{name}_x": as_float32(frames), name: as_float32(rows[:, trace.ids.index(chosen)])}
    return found


def _known(model: Model, of: PlacesGiven, chosen: int) -> tuple[float, bool]:
    places = model.places(of)
    if chosen >= len(places.value):
        return np.nan, False
    return float(places.value[chosen]), bool(places.doubtful[chosen])
