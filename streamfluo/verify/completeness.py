"""Whether a session is all that it says: each frame recorded, lost for a reason, or refused; values for each frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.errors import StreamfluoError
from ..session.reader import Session
from .findings import Finding

PER_FRAME = ("per_frame", "by_id")


def missing(session: Session) -> Iterator[Finding]:
    """Yield what a session lacks. What is damaged counts as there: another check says it.

    Raises what a session raises that cannot be read.
    """
    if session.state != "finished":
        yield Finding("incomplete", "session.json", _said(session.state))
    for name in session.planes:
        yield from _of_plane(session.plane(name))
    yield from _of_steps(session)


def _said(state: str) -> str:
    if state == "running":
        return "its run goes on"
    if state == "interrupted":
        return "interrupted: the run was killed, or the machine went down; resume it"
    return "stopped before the end of its series" if state == "aborted" else f"its run {state}"


def _of_plane(session: Session) -> Iterator[Finding]:
    of = f"plane {session.plane_name}, " if session.plane_name else ""
    seen, stop = _seen(session), session.next_index
    known = [(gap.first, gap.first + gap.count) for gap in session.gaps] + _unrecorded(session)
    if lacking := list(_unaccounted(seen, stop, sorted(known))):
        first, behind = lacking[0]
        said = f"frame {first}" if behind == first + 1 else f"frames {first} to {behind - 1}"
        others = f", and {len(lacking) - 1} other stretches" if len(lacking) > 1 else ""
        count = sum(behind - first for first, behind in lacking)
        yield Finding("incomplete", f"{of}frames", f"{said}{others}: {count} neither recorded nor noted as lost")
    if beyond := int((seen >= stop).sum()):
        yield Finding("damaged", f"{of}frames", f"{beyond} from {stop} on, where the run says that it ended")
    counted = session.health.get("planes", {}).get(session.plane_name, {}) if session.plane_name else session.health
    if session.has_journal:
        told, there = counted.get("frames", 0), session.frames + sum(b - a for a, b in _unrecorded(session))
        if told > there:
            yield Finding("incomplete", f"{of}frames", f"health.json counted {told}, {there} are there")
    if (noted := counted.get("lost", 0)) > session.lost:
        yield Finding("incomplete", f"{of}gaps", f"health.json counted {noted} lost frames, events name {session.lost}")


def _unaccounted(seen: np.ndarray, stop: int, known: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the stretches (first, behind) between frames, and up to `stop`, that no gap covers."""
    cuts = np.flatnonzero(np.diff(seen) > 1)
    holes = list(zip((seen[cuts] + 1).tolist(), seen[cuts + 1].tolist(), strict=True))
    holes.append((int(seen[-1]) + 1 if len(seen) else 0, stop))
    for at, end in holes:
        for first, behind in known:
            if first > at and first < end:
                yield at, first
            if first <= end:
                at = max(at, min(behind, end))
        if at < end:
            yield at, end


def _seen(session: Session) -> np.ndarray:
    """The indices of the frames that a plane's journal has; without one those of which some step gave values."""
    if session.has_journal:
        return np.asarray(session.journal.indices)
    found = [session.index(step) for step, facts in session.steps.items() if not facts.frames_of]
    seen = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
    if len(seen):
        return seen
    try:
        return session.indices()
    except StreamfluoError:
        return seen


def _unrecorded(session: Session) -> list[tuple[int, int]]:
    """Frames that were processed and not written, as the disk did not take them: first, one past the last."""
    return [
        (event["first"], event["first"] + event["count"])
        for event in session.events
        if event["event"] == "unrecorded" and event.get("plane", "") in ("", session.plane_name)
        and type(event.get("first")) is int and type(event.get("count")) is int
    ]  # fmt: skip


def _of_steps(whole: Session) -> Iterator[Finding]:
    muted = {event["step"]: event["frame"] for event in whole.events if event["event"] == "muted"}
    for name in whole.planes:
        session = whole.plane(name)
        seen = _seen(session)
        for step, facts in session.steps.items():
            if facts.frames_of or not any(given.kind in PER_FRAME for given in facts.gives):
                continue
            full = f"{name}/{step}" if name else step
            index = session.index(step)
            if len(index) > 1 and (np.diff(index) <= 0).any():
                yield Finding("damaged", full, "its values go back in the frames")
            stop = muted.get(full, 1 << 62)
            expected = seen[seen < stop]
            lacking = np.setdiff1d(expected, index)
            if len(lacking) and len(index):
                yield Finding(
                    "incomplete", full, f"no values of {_spelled(lacking)}: {len(lacking)} of {len(expected)}"
                )
            elif len(lacking) and whole.state == "finished":
                yield Finding("incomplete", full, f"no values at all, of {len(expected)} frames")
            pictured = any(given.kind == "snapshot" for given in facts.gives)
            if whole.state == "finished" and pictured and len(seen) and not session.snapshot(step):
                yield Finding("incomplete", full, "no snapshots, which it should have left")


def _spelled(indices: np.ndarray) -> str:
    """Say which frames: the first stretch of them, and that there are more."""
    cuts = np.flatnonzero(np.diff(indices) != 1)
    first, last = int(indices[0]), int(indices[cuts[0]] if len(cuts) else indices[-1])
    said = f"frame {first}" if first == last else f"frames {first} to {last}"
    return f"{said}, and others" if len(cuts) else said
