"""What came of a run's values and snapshots, sorted to what draws it. No Qt, no sockets."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from ..core import wire
from ..core.step_values import IDS, PRESENT
from .drawn import NOTHING, AllDrawn, PlacesGiven
from .panels import Overlay, Panel, frames_seen_by
from .picture import WHOLE, Picture, grid_of
from .tables import Rows, by_table
from .timeline import Timeline
from .traces import Marks, Trace

PLOTTED = ("curve", "scatter", "histogram", "counts")
MAX_INDEX, MAX_LOOKS = 2**62, 4000
MAX_ANSWERS = 16
STALE_FRAMES = 64  # what a step said of a frame so far from the one shown is not drawn over it any more


class Places(NamedTuple):
    """Where things are (spot, yx) [px], their values (n,), and which of those are doubtful (n,)."""

    yx: np.ndarray
    value: np.ndarray
    doubtful: np.ndarray


class Held:
    """The newest results of a run's steps. What makes no sense is counted in `refused` by what is wrong with it."""

    def __init__(self) -> None:
        self.hello: wire.Hello | None = None
        self.drawn: AllDrawn = NOTHING
        self.overlays: list[Overlay] = []
        self.refused: Counter[str] = Counter()
        self.timeline = Timeline()
        self.pictures: dict[str, Picture] = {}
        self.traces: dict[str, Trace] = {}
        self.marks: dict[str, Marks] = {}
        self.tables: dict[str, Rows] = {}
        self.numbers: dict[str, dict[str, str]] = {}
        self.curves: dict[str, np.ndarray] = {}  # snapshots of one axis or, as heat, two, by panel id
        self.values: dict[str, float] = {}  # those of none, by step/name
        self.vectors: dict[str, tuple[int, np.ndarray]] = {}  # overlay → frames' first index, (t, …, yx)
        self.contours: dict[str, np.ndarray] = {}
        self.past: deque[wire.Result] = deque(maxlen=MAX_ANSWERS)  # the newest to questions about values of before
        self.pointed: dict[str, list[int]] = {}  # step → ids of components that are drawn thick, the newest last
        self._source_frames: dict[str, tuple[float, float]] = {}  # step → in one of its frames, in one that it sees
        self._present: dict[str, list[int]] = {}  # step → ids that its newest values say are there
        self._each: dict[str, Panel] = {}  # every panel of every plane

    def unit(self, step: str, name: str) -> str:
        """The unit of something a step gives."""
        gives = self.hello.gives.get(step, []) if self.hello else []
        return next((unit for given, _, _, unit, _ in gives if given == name), "")

    def _forget(self) -> None:
        for held in (self.pictures, self.traces, self.marks, self.tables, self.numbers, self.curves, self.values):
            held.clear()
        for drawn_over in (self.vectors, self.contours, self._present):
            drawn_over.clear()

    def _result(self, result: wire.Result, arrays: Mapping[str, np.ndarray]) -> None:
        if self.hello is None or result.step not in self.hello.gives:
            self.refused["step"] += 1
        elif not (-1 <= result.index < MAX_INDEX and 0 <= result.count < MAX_INDEX):
            self.refused["index"] += 1
            return
        elif result.kind == "snapshot" and result.before is msgspec.UNSET:
            for name, array in arrays.items():
                self._snapshot(result, name, array)
        elif result.before is not msgspec.UNSET:
            self.past.append(result)
            self._of_past(result, arrays)
            return  # the newest frame is another one
        else:
            self._values(result, arrays)
        if self.hello is not None and result.step in self.hello.gives:
            self._reach(result.index + result.count - 1, self._source_frames.get(result.step, (1.0, 1.0))[1])

    def _reach(self, index: int, each: float) -> None:
        """Note that a frame was seen, each of which stands for so many of the source."""
        self.timeline.reach(index if each == 1 else round((index + 1) * each) - 1)

    def _snapshot(self, result: wire.Result, name: str, array: np.ndarray) -> None:
        step = result.step
        panel = self._each.get(f"snapshot/{step}/{name}")
        if array.ndim == 0:
            unit = self.unit(step, name)
            known = array.dtype.kind != "f" or bool(np.isfinite(array[()]))
            text = str(array[()]) if array.dtype.kind == "U" else f"{array[()]:.4g}"
            self.numbers.setdefault(f"numbers/{step}", {})[name] = f"{text} {unit}".rstrip() if known else "not known"
            if array.dtype.kind in "biuf":
                self.values[f"{step}/{name}"] = float(array[()])
        elif any(o.id == f"{step}/{name}" and o.kind in ("contours", "rectangle") for o in self.overlays):
            self.contours[f"{step}/{name}"] = array
        elif slices := [o for o in self.overlays if (o.step, o.name) == (step, name) and o.z is not None]:
            for overlay in slices:
                if array.ndim == 4 and overlay.z is not None and overlay.z < len(array):
                    self.contours[overlay.id] = array[overlay.z]
        elif array.dtype.kind == "U" or (panel is None and not self._belongs_to_a_plot(step, name)):
            self.refused["snapshot"] += 1
        elif panel is not None and panel.kind == "interval" and array.shape == (2,):
            value = self.values.get(f"{step}/{panel.dims[0]}", np.nan)
            self._as_frames_go_by(self.traces[panel.id], result.index, np.array([array[0], value, array[1]], float))
        elif panel is not None and panel.kind == "over_time" and array.ndim == 1:
            self._as_frames_go_by(self.traces[panel.id], result.index, array)
        elif (panel is None or panel.kind in PLOTTED) and array.ndim == 1:
            self.curves[f"snapshot/{step}/{name}"] = array
        elif panel is not None and panel.kind == "heat" and array.ndim == 2:
            self.curves[panel.id] = array
        elif panel is not None and panel.kind == "image" and array.ndim == len(panel.dims) and array.size:
            frame = self.facts_of_pixels(panel)
            grid = grid_of(array.shape, frame[0]) if frame is not None and panel.dims[-2:] != ("y", "x") else WHOLE
            self.pictures[panel.id].take(array, result.index, grid)
        else:
            self.refused["shape"] += 1

    def facts_of_pixels(self, panel: Panel) -> wire.FrameFacts | None:
        """What `hello` says of the frames that a snapshot's picture is of."""
        if self.hello is None:
            return None
        after = {step: before for step, _, before in self.hello.steps}
        return self.hello.frames.get(frames_seen_by(panel.step, self.hello.frames, after))

    def _as_frames_go_by(self, trace: Trace, index: int, values: np.ndarray) -> None:
        """A look is told again to who comes late: one of a frame that is there already counts for nothing."""
        if not len(trace) or index > trace.since()[0][-1] or trace.curves != len(values):
            trace.take(index, np.asarray(values, float)[None])

    def _belongs_to_a_plot(self, step: str, name: str) -> bool:
        """Whether a snapshot without a panel of its own is the axis or the fit of another's."""
        return any(f"snapshot/{step}/{name}/" in panel.topics for panel in self._each.values())

    def _values(self, result: wire.Result, arrays: Mapping[str, np.ndarray]) -> None:
        step, ids = result.step, arrays.get(IDS)
        there = arrays.get(PRESENT)
        if ids is not None and there is not None and len(there) and there.shape == (len(there), len(ids)):
            self._present[step] = sorted(np.asarray(ids)[np.asarray(there[-1], bool)].tolist())
        for name, array in arrays.items():
            if name != "ids" and array.dtype.kind in "biuf" and array.shape[:1] == (result.count,) and len(array):
                self._per_frame(f"{step}/{name}", result.index, array, ids)
        for table, columns in by_table(arrays).items():
            rows = self.tables.get(f"table/{step}/{table}")
            if rows is None or not rows.take(columns):
                self.refused["table"] += 1

    def _per_frame(self, name: str, index: int, array: np.ndarray, ids: np.ndarray | None) -> None:
        if any(o.id == name and o.kind == "vectors" for o in self.overlays) and array.shape[-1] == 2:
            self.vectors[name] = (index, array)
        by_id = self.traces.get(f"by_id/{name}")
        if by_id is not None and ids is not None and array.shape == (len(array), len(ids)):
            by_id.take(index, array, ids.tolist())
        elif (trace := self.traces.get(f"per_frame/{name}")) is not None and array.ndim <= 2:
            trace.take(index, array)
        elif (marks := self.marks.get(f"per_frame/{name}")) is not None and array.ndim == 1:
            marks.take((index + np.flatnonzero(array)).tolist())
            marks.cover(index, len(array))

    def _of_past(self, result: wire.Result, arrays: Mapping[str, np.ndarray]) -> None:
        for table, columns in by_table(arrays).items():
            if (rows := self.tables.get(f"table/{result.step}/{table}")) is not None:
                rows.take_earlier(columns)
        for name, array in arrays.items():
            trace, frames = self.traces.get(f"snapshot/{result.step}/{name}"), arrays.get("frames")
            if result.kind == "values":
                self._earlier(f"{result.step}/{name}", result, array, arrays.get(IDS))
            elif trace is not None and trace.sampled and frames is not None and _are_looks(frames, array):
                trace.take_looks(frames, array)

    def _earlier(self, name: str, result: wire.Result, array: np.ndarray, ids: np.ndarray | None) -> None:
        """Put values of before this window came before those that are here."""
        if array.dtype.kind not in "biuf" or array.shape[:1] != (result.count,) or array.ndim > 2 or not len(array):
            return
        if (by_id := self.traces.get(f"by_id/{name}")) is not None:
            if ids is not None and ids.dtype.kind in "iu" and array.shape[1:] == ids.shape:
                by_id.take_asked(int(result.before or 0), result.index, array, ids.tolist())
        elif (trace := self.traces.get(f"per_frame/{name}")) is not None:
            trace.take_asked(int(result.before or 0), result.index, array)
        elif (marks := self.marks.get(f"per_frame/{name}")) is not None and array.ndim == 1:
            marks.take_earlier((result.index + np.flatnonzero(array)).tolist())
            marks.cover(result.index, len(array))

    def rows_near(self, overlay: Overlay, index: int) -> Mapping[str, np.ndarray]:
        """Return the rows of a table of spots that speak of the frame shown, or of one shortly before it."""
        rows = self.tables.get(f"table/{overlay.step}/{overlay.name}")
        return rows.of_frame(index, STALE_FRAMES) if rows is not None else {}

    def ids_of(self, step: str) -> list[int]:
        """The components that a step says are there, or gave values of last, in the order of its outlines."""
        if step in self._present:
            return self._present[step]
        return next((sorted(t.newest_ids) for id, t in self.traces.items() if id.startswith(f"by_id/{step}/")), [])

    def centres(self, step: str) -> dict[int, tuple[float, float]]:
        """Where the components of a step are (y, x) [px], by their ids, as far as their outlines say."""
        drawn = next((o for o in self.overlays if o.step == step and o.kind == "contours"), None)
        contours, ids, _ = self.outlines(drawn) if drawn is not None else (np.empty((0, 1, 2)), [], [])
        if contours.ndim != 3 or contours.shape[-1] != 2 or contours.dtype.kind not in "iuf":
            return {}
        known = np.asarray(np.isfinite(contours).all(axis=2))
        found = np.where(known[..., None], contours, 0).sum(1) / np.maximum(known.sum(1), 1)[:, None]
        return {name: (y, x) for name, (y, x), points in zip(ids, found.tolist(), known.sum(1), strict=True) if points}

    def outlines(self, overlay: Overlay) -> tuple[np.ndarray, list[int], list[int]]:
        """Return contours (id, point, yx), whose they are, and which are pointed out; their place where nobody says."""
        contours = self.contours.get(overlay.id, np.empty((0, 0, 2)))
        ids = self.ids_of(overlay.step)
        return (
            contours,
            ids if len(ids) == len(contours) else list(range(len(contours))),
            self.pointed.get(overlay.step, []),
        )

    def places(self, of: PlacesGiven) -> Places:
        """Return what is known by now of things at places, as long as the table that says where they are."""
        rows = self.tables.get(f"table/{of.table[0]}/{of.table[1]}")
        columns = rows.columns if rows is not None and {"spot", "y_px", "x_px"} <= rows.columns.keys() else {}
        spot = np.asarray(columns.get("spot", np.empty(0)), np.int64)
        value = np.asarray(self._curve(of.value), float)
        count = min(len(value), int(spot.max(initial=-1)) + 1)
        yx = np.full((count, 2), np.nan)
        known = (spot >= 0) & (spot < count)
        for axis, name in enumerate(("y_px", "x_px")):  # of several rows the newest stays
            yx[spot[known], axis] = np.asarray(columns.get(name, np.empty(0)), float)[known]
        return Places(yx, value, self.doubtful(of, len(value)))

    def doubtful(self, of: PlacesGiven, count: int) -> np.ndarray:
        """Return which of so many places are doubtful."""
        found = np.zeros(count, bool)
        for doubt in (self._curve(at) for at in of.doubtful):
            found |= (np.asarray(doubt) != 0) if doubt.shape == (count,) else False
        return found

    def chosen_place(self, step: str) -> int:
        """Return which of the places that a step speaks of is chosen, the first one unless another was."""
        return next(iter(self.pointed.get(step, [])[-1:]), 0)

    def _curve(self, at: tuple[str, str] | None) -> np.ndarray:
        return self.curves.get(f"snapshot/{at[0]}/{at[1]}", np.empty(0)) if at is not None else np.empty(0)

    def point_out(self, step: str, number: int, also: bool = False) -> None:
        """Point out the component of a step's `number`-th outline, alone or beside others, or no longer."""
        ids = self.ids_of(step)
        if number < len(ids):
            others = self.pointed.get(step, []) if also else []
            alone = [name for name in others if name != ids[number]]
            self.pointed[step] = alone if ids[number] in others else [*others, ids[number]]

    def vector_near(self, overlay: Overlay, index: int) -> np.ndarray | None:
        """Return the vectors (…, yx) of the frame shown, or of one close to it."""
        first, vectors = self.vectors.get(overlay.id, (0, np.empty(0)))
        if not first - STALE_FRAMES <= index < first + len(vectors) + STALE_FRAMES or not len(vectors):
            return None
        return np.asarray(vectors[min(max(index - first, 0), len(vectors) - 1)])


def _are_looks(frames: np.ndarray, values: np.ndarray) -> bool:
    """Whether these are values (n, k) at frames (n,)."""
    if values.ndim != 2 or frames.shape != values.shape[:1] or not 0 < len(frames) <= MAX_LOOKS:
        return False
    kinds = values.dtype.kind in "biuf" and frames.dtype.kind == "i" and values.shape[1] <= MAX_LOOKS
    return kinds and int(frames.min()) >= 0 and int(frames.max()) < MAX_INDEX
