"""What happened while frames came: losses along the run, and every event in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.findings import Figure, counted, spelled
from ..core.source import PAUSED
from ..core.unseen import VALID
from ..pixels.report import chart, time_axis
from ..session.reader import Session
from .recorded import Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 1200  # along the course
TOLD = 150  # events one by one; more are counted
FIRED = "fired"
LOST, INVALID, CAME, AWAY = "#c62828", "#e69f00", "#9dbfd8", "#c9c9c9"
MARKS = {"mark": "#6a4fc3", "set": "#00877a", "muted": "#c62828", "doubtful": "#b26a00"}


def course_of(part: Part) -> Figure | None:
    """Return frames that came, were lost, declared not valid or passed over, along the run; None without frames."""
    session = part.session
    stop = session.next_index
    if not stop:
        return None
    rows, at_events, fired = _rows(part, stop), _marks(session), _fired(part)
    at, label = time_axis(np.array([0, stop]), session.spec.interval_s)
    scale = (at[1] - at[0]) / stop

    def draw(axes: Axes) -> None:
        names = list(rows)
        for n, (name, (share, colour)) in enumerate(rows.items()):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], share > 0, [0]]))).reshape(-1, 2) * (stop / len(share))
            least = 0.002 * stop  # one lost frame in a million is seen
            bars = [(start * scale, max(end - start, least) * scale) for start, end in edges]
            axes.broken_barh(bars, (-n - 0.35, 0.7), color=colour, lw=0)
            names[n] = name
        if len(fired):
            axes.plot(fired * scale, np.full(len(fired), -float(len(names))), "|", color="#333333", ms=9)
            names.append("decided to act")
        if at_events:
            for kind, frame in at_events:
                axes.plot([frame * scale], [-float(len(names))], "v", color=MARKS[kind], ms=6)
            names.append("events")
        axes.set(xlabel=label, yticks=[-n for n in range(len(names))], xlim=at, ylim=(-len(names) + 0.4, 0.6))
        axes.set_yticklabels(names)
        axes.grid(False)
        axes.tick_params(left=False)

    said = "Triangles: marks (violet), changes of a parameter (green), a step's doubt (amber), a muted step (red)."
    count = len(rows) + bool(len(fired)) + bool(at_events)
    return chart(draw, "Course of the run", said if at_events else "", size=(9.6, 0.75 + 0.3 * count))


def valid_frames(part: Part) -> tuple[np.ndarray, np.ndarray] | None:
    """Return whether each frame was declared valid (t,), and its index; None where no step declares it."""
    for step in part.steps:
        if len(valid := step.per_frame(VALID)):
            return valid > 0, step.index
    return None


def _rows(part: Part, stop: int) -> dict[str, tuple[np.ndarray, str]]:
    session = part.session
    bins = min(BINS, stop)
    lost, away = np.zeros(bins), np.zeros(bins)
    for gap in session.gaps:
        first, last = (min(bins - 1, i * bins // stop) for i in (gap.first, gap.first + max(1, gap.count) - 1))
        (away if gap.reason == PAUSED else lost)[first : last + 1] = 1
    rows = {"received": (_received(session, stop, bins), CAME)}
    rows["lost"] = (lost, LOST)
    if away.any():
        rows["passed over"] = (away, AWAY)
    if (declared := valid_frames(part)) is not None:
        valid, index = declared
        rows["not valid"] = (_share_of(index[~valid], stop, bins), INVALID)
    return rows


def _received(session: Session, stop: int, bins: int) -> np.ndarray:
    """Where along the course frames came: where they were recorded, else wherever no gap was noted."""
    if session.has_journal:
        return _share_of(session.journal.indices, stop, bins)
    there = np.ones(bins)
    for gap in session.gaps:
        there[-(-gap.first * bins // stop) : (gap.first + gap.count) * bins // stop] = 0
    return there


def _share_of(indices: np.ndarray, stop: int, bins: int) -> np.ndarray:
    at = (indices[indices < stop] * (bins / stop)).astype(int)  # no product of integers: an index may be 2⁶²
    return np.bincount(np.minimum(at, bins - 1), minlength=bins).astype(float)


def _marks(session: Session) -> list[tuple[str, int]]:
    found = [(e["event"], e.get("frame")) for e in session.events if e["event"] in MARKS]
    return [(kind, frame) for kind, frame in found if isinstance(frame, int)][:TOLD]


def _fired(part: Part) -> np.ndarray:
    found = [step.index[step.per_frame(FIRED) > 0] for step in part.steps if len(step.per_frame(FIRED))]
    return np.concatenate([np.empty(0, np.int64), *found])


def told_events(session: Session) -> tuple[list[tuple[str, str, str]], str]:
    """Return (UTC, frame, what) of each event, and what of them is not listed."""
    rows = [(str(e.get("utc", ""))[11:19], _frame(e), in_words(e)) for e in session.events]
    if len(rows) <= TOLD:
        return rows, ""
    rest = Counter(str(event["event"]) for event in session.events[TOLD:])
    return rows[:TOLD], "and " + ", ".join(f"{counted(n, 'event')} of kind {kind}" for kind, n in rest.items())


def in_words(event: Mapping[str, Any]) -> str:
    """Return an event as a sentence; one that another program wrote may lack what a sentence needs."""
    try:
        return _in_words(event)
    except (KeyError, TypeError, ValueError):
        return str(event["event"])


def _map(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _in_words(event: Mapping[str, Any]) -> str:
    kind, step = str(event["event"]), event.get("step", "")
    plane = f" of plane {event['plane']}" if event.get("plane") else ""
    said = {
        "gap": lambda: f"{counted(event['count'], 'frame')}{plane} never came ({event['reason']})",
        "mark": lambda: f"mark: {event.get('text', '')}",
        "set": lambda: f"{step}: {event.get('param')} set to {event.get('value')}",
        "noted": lambda: f"{step}: {event.get('said', '')}",
        "doubtful": lambda: f"{step} doubts its results: {event['doubt']}" if event.get("doubt") else
                    f"{step} doubts its results no longer",
        "muted": lambda: f"{step} failed and was muted; the recording went on: {event.get('error', '')}",
        "joined": lambda: f"joined the series at frame {event.get('frame')}",
        "closed": lambda: f"the session was closed: {event.get('state', '')}",
        "unrecorded": lambda: f"{counted(event.get('count', 0), 'frame')}{plane} were processed but not recorded",
        "snapshot failed": lambda: f"{step}: a snapshot could not be read: {event.get('error', '')}",
    }.get(kind)  # fmt: skip
    if said is not None:
        return said()
    rest = {name: value for name, value in event.items() if name not in ("event", "utc", "frame", "crc32", "traceback")}
    return kind + (": " + ", ".join(f"{name} {value}" for name, value in rest.items()) if rest else "")


def _frame(event: Mapping[str, Any]) -> str:
    frame = event.get("frame", event.get("first"))
    return spelled(frame) if isinstance(frame, int) else ""


def warnings_of(session: Session) -> Sequence[str]:
    """Return what speaks against the run: losses, doubts, muted steps, what is damaged."""
    lost = Counter[str]()
    for gap in session.gaps:
        if gap.reason != PAUSED:
            lost[gap.reason] += gap.count
    found = [f"{counted(n, 'frame')} never came: lost by the {reason}." for reason, n in lost.items()]
    health = session.health
    found += [f"{step} was muted: {why}" for step, why in _map(health.get("muted")).items()]
    found += [f"{step} doubts its results: {why}" for step, why in _map(health.get("doubtful")).items()]
    if not health:
        for e in session.events:
            if e["event"] in ("muted", "doubtful"):
                found.append(in_words(e))
    unrecorded = health.get("unrecorded")
    if isinstance(unrecorded, int) and unrecorded:
        found.append(f"{counted(unrecorded, 'frame')} were processed but not recorded.")
    found += [f"{name} stalled: {why}" for name, why in _map(health.get("stalled")).items()]
    damaged = session.damaged_so_far
    found += [f"Damaged: {damage}" for damage in damaged[:8]]
    if len(damaged) > 8:
        found.append(f"and {len(damaged) - 8} more damaged places")
    return found
