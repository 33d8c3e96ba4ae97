"""What one page asks for, and what it has been sent. Nothing waits for a page: what it did not take is let go."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from ..viewer.panels import Panel
from ..viewer.traces import Trace
from ..viewer.words import labelled, named
from .columns import WINDOW_FRAMES, WINDOW_S, columns_since, frames_each
from .declared import FIRST, KINDS, pack_declared, places_over, ticks_beneath
from .messages import as_float32, packed
from .run_view import RunView, Shot, numbered

IN_FLIGHT = 2  # turns that a page has not drawn yet: with more, what comes through a slow line would be old
SLOW_S = 0.3  # from sending a turn to its drawing, after which one is enough
MAX_MESSAGE_BYTES = 2048
HEALTH_S = 0.5
OUTLINES_S = 1.0  # at most so often: they are refined with every frame
DETAIL_S = 0.5
MAX_CURVES = 16
MAX_POINTS = 2000
MAX_MARKS = 200


class Want(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page shows: a picture, of a plane, its longest side [px of the screen]; a page of curves, or the one with
    a component."""

    picture: str = ""
    plane: str = ""
    side_px: int = 640
    page: int = 0
    curves: int = 8
    component: int | None = None


class FromPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a page may say: what it wants, and which turn it has drawn."""

    want: Want | None = None
    seen: int | None = None


_decoder = msgspec.json.Decoder(FromPage)


class Visitor:
    """One page. `take` what it says, and each `turn` gives the messages that are due, all of them newest."""

    def __init__(self, run: RunView) -> None:
        self._run = run
        self.want = Want()
        self.turns = self._seen = 0
        self._sent_s: dict[int, float] = {}  # when turns were sent that are not drawn yet
        self._room = IN_FLIGHT
        self._revision = -1
        self._health: tuple[float, bytes] = (-HEALTH_S, b"")
        self._shot: Shot | None = None
        self._outlines: tuple[float, object] = (-OUTLINES_S, None)
        self._details: dict[str, tuple[float, object]] = {}
        self._curves: dict[str, tuple[object, int]] = {}  # detail → what it shows, the next column

    def take(self, text: str | bytes, now_s: float = 0.0) -> None:
        """Take what a page says at this time. Raises ValueError for what it may not say."""
        if not isinstance(text, str):
            raise ValueError("a page speaks JSON")
        said = _decoder.decode(text)
        self.want = said.want or self.want
        if said.seen is not None and self._seen < said.seen <= self.turns:
            self._seen = said.seen
            self._room = 1 if now_s - self._sent_s[said.seen] > SLOW_S else IN_FLIGHT
            self._sent_s = {turn: sent_s for turn, sent_s in self._sent_s.items() if turn > said.seen}

    @property
    def behind(self) -> bool:
        """Whether it has not drawn yet what it was sent."""
        return self.turns - self._seen >= self._room

    def picture(self) -> Panel | None:
        """The picture it shows, of a plane."""
        pictures = self._run.pictures
        dock = next((panel for panel in pictures if panel.id == self.want.picture), pictures[0] if pictures else None)
        return self._run.member(dock, self.want.plane) if dock is not None else None

    def details(self) -> list[tuple[Panel, Panel]]:
        """What it shows beside the picture: docks, and what each is in its plane."""
        found = ((dock, self._run.member(dock, self.want.plane)) for dock in self._run.details)
        return [(dock, panel) for dock, panel in found if panel is not None]

    def turn(self, now_s: float) -> list[bytes]:
        """Return what is due, newest only; nothing while it is behind."""
        if self.behind:
            return []
        due = self._begin()
        due += self._how_it_fares(now_s)
        if (panel := self.picture()) is not None:
            due += self._new_picture(panel) + self._new_outlines(panel, now_s)
        for dock, panel in self.details():
            due += self._curve_values(dock, panel) if panel.kind == "trace" else self._detail(dock, panel, now_s)
        if due:
            self.turns += 1
            self._sent_s[self.turns] = now_s
            due.append(packed("turn", {"number": self.turns}))
        return due

    def _begin(self) -> list[bytes]:
        """Say what there is to choose from, where that changed; then all of it is new."""
        if self._revision == self._run.revision:
            return []
        self._revision = self._run.revision
        self._shot, self._outlines = None, (-OUTLINES_S, None)
        self._details.clear()
        self._curves.clear()
        return [packed("run", self._run.offers)]

    def _how_it_fares(self, now_s: float) -> list[bytes]:
        if now_s - self._health[0] < HEALTH_S:
            return []
        message = packed("health", self._run.fares.tell(now_s))
        before, self._health = self._health[1], (now_s, message)
        return [message] if message != before else []

    def _new_picture(self, panel: Panel) -> list[bytes]:
        shot = self._run.shot(panel, self.want.side_px)
        if shot is None or shot is self._shot:
            return []
        self._shot = shot
        arrays: dict[str, np.ndarray | bytes] = {"jpeg": shot.jpeg}
        if (spots := self._run.spots(panel, shot.frame)) is not None:
            arrays["spots"] = spots
        facts = {**shot.facts, "rectangle": self._run.rectangle(panel)}
        if (places := places_over(self._run.model, panel)) is not None:
            facts["known"], arrays["places"] = places
        return [packed("picture", facts, arrays)]

    def _new_outlines(self, panel: Panel, now_s: float) -> list[bytes]:
        message = self._run.outlines(panel)
        sent_s, sent = self._outlines
        if message is None or message is sent or now_s - sent_s < OUTLINES_S:
            return []
        self._outlines = now_s, message
        return [message]

    # Values that scroll by

    def _curve_values(self, dock: Panel, panel: Panel) -> list[bytes]:
        """Return what is new of a trace since the last turn, or all of its window where it shows others."""
        trace = self._run.model.traces.get(panel.id)
        if trace is None or not len(trace):
            return []
        facts = self._run.model.facts(self._run.model.seen_by(panel))
        interval_s = facts[3] if facts is not None else None
        each, (ids, places, page, pages) = frames_each(interval_s), self._shown_curves(dock, trace)
        shows = id(trace), panel.id, tuple(ids), each
        before, first = self._curves.get(dock.id, (None, 0))
        last = int(trace.since()[0][-1])
        anew = before != shows or (last + 1) // each < first
        columns = columns_since(trace, 0 if anew else first, each, places)
        if columns is None:
            return []
        self._curves[dock.id] = shows, columns.first + len(columns.low)
        window = WINDOW_S / interval_s if interval_s else WINDOW_FRAMES
        fields = {
            "detail": dock.id, "anew": anew, "first": columns.first, "each": each, "interval_s": interval_s,
            "window": window / each, "ids": ids, "page": page, "pages": pages,
            "marks": self._marks(panel, last, window),
        }  # fmt: skip
        arrays: dict[str, np.ndarray | bytes] = {"low": columns.low}
        if each > 1:
            arrays["high"] = columns.high
        stop = (columns.first + len(columns.low)) * each
        if (ticks := ticks_beneath(self._run.model, panel, ids, columns.first * each, stop)) is not None:
            arrays["ticks"] = ticks
        return [packed("curves", fields, arrays)]

    def _shown_curves(self, dock: Panel, trace: Trace) -> tuple[list[int], list[int], int, int]:
        """Return ids and places of the curves shown, of components a page of them: which of how many."""
        if trace.ids is None:
            places = list(range(min(trace.curves, MAX_CURVES)))
            return places, places, 0, 1
        at = dict(zip(numbered(trace.ids), range(len(trace.ids)), strict=False))
        alive = sorted(set(numbered(trace.newest_ids)) & at.keys()) or sorted(at)
        size = min(max(self.want.curves, 1), MAX_CURVES)
        pages = max(1, -(-len(alive) // size))
        page = min(max(self.want.page, 0), pages - 1)
        if self.want.component in alive:
            page = alive.index(self.want.component) // size
        shown = alive[page * size : (page + 1) * size]
        return shown, [at[name] for name in shown], page, pages

    def _marks(self, panel: Panel, last: int, window: float) -> dict[str, list[int]]:
        """Return by step the frames at which it decided, within the window."""
        model = self._run.model
        found = {p.step: model.marks[p.id] for p in model.beside(panel) if p.kind == "marks" and p.id in model.marks}
        since = int(max(0, last - window))
        return {step: marks.since(since)[-MAX_MARKS:].astype(int).tolist() for step, marks in found.items()}

    # Snapshots

    def _detail(self, dock: Panel, panel: Panel, now_s: float) -> list[bytes]:
        sent_s, sent = self._details.get(dock.id, (-DETAIL_S, None))
        if now_s - sent_s < DETAIL_S:
            return []
        message = self._pack_detail(dock, panel)
        if message is None or message == sent:
            return []
        self._details[dock.id] = now_s, message
        return [message]

    def _pack_detail(self, dock: Panel, panel: Panel) -> bytes | None:
        model = self._run.model
        if panel.kind == "numbers":
            numbers = model.numbers.get(panel.id, {})
            told: list[Any] = [[named(name), text[:300]] for name, text in list(numbers.items())[:64]]
            return packed("numbers", {"detail": dock.id, "numbers": told}) if told else None
        if panel.kind == "interval":
            return self._pack_interval(dock, panel)
        if panel.kind in KINDS:
            return pack_declared(model, dock, panel, self.want.component or 0)
        y = model.curves.get(panel.id)
        if y is None or y.dtype.kind not in "biuf" or not len(y):
            return None
        across = panel.dims[0] if panel.dims else ""
        arrays = {"y": y}
        if panel.kind == "scatter":
            for name, other in (("x", across), ("fit", f"{panel.name}_fit")):
                curve = model.curves.get(f"snapshot/{panel.step}/{other}")
                if curve is not None and curve.shape == y.shape and curve.dtype.kind in "biuf":
                    arrays[name] = curve
        step = -(-len(y) // MAX_POINTS)
        fields = {
            "detail": dock.id,
            "across": _axis(across, model.unit(panel.step, across)),
            "along": labelled(panel.name, panel.unit),
            "begins": FIRST.get(across, 0),
        }
        return packed("points", fields, {name: as_float32(array[::step]) for name, array in arrays.items()})

    def _pack_interval(self, dock: Panel, panel: Panel) -> bytes | None:
        trace = self._run.model.traces.get(panel.id)
        if trace is None or not len(trace):
            return None
        frames, rows = trace.since()
        known = np.isfinite(rows).all(1) if rows.shape[1] == 3 else np.zeros(len(rows), bool)
        if not known.any():
            return None
        step = -(-int(known.sum()) // MAX_POINTS)
        low, value, high = as_float32(rows[known][::step].T)
        fields = {"detail": dock.id, "across": "frame", "along": labelled(panel.dims[0], panel.unit)}
        x = as_float32(frames[known][::step])
        return packed("points", fields, {"x": x, "y": value, "low": low, "high": high})


def _axis(name: str, unit: str) -> str:
    """Name an axis: bins of photons in photons are photons."""
    name = name.removesuffix("_bins")
    return name if name == unit else labelled(name, unit)
