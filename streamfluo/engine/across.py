"""Values that steps take from another plane, or late: kept until those that want them have passed their frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..core.block import Block
from ..core.errors import FrameError
from ..core.operator import Gives
from ..core.step_values import IDS, PRESENT, StepValues
from ..core.unseen import VALID
from .building import Step, apart
from .silent_planes import SILENT_FRAMES

MAX_FRAMES = 4096  # of one step: a plane that stopped coming makes others keep no more
MAX_SHOTS = 4  # of one snapshot: likewise
PLANES, TIMES = "planes", "times_ns"  # what stands beside values by id of several planes
NO_TIME = -1
_WIDTHS = {"yx": 2}


class AcrossPlanes:
    """The newest values of each step that another plane takes some of, or a late step."""

    def __init__(self, steps: Sequence[Step]) -> None:
        by_id = {step.id: step for step in steps}
        # Of each giver the planes that take from it, whether by late steps, and how far they are.
        self._takers: dict[str, dict[tuple[str, bool], int]] = {}
        self._gives: dict[str, dict[str, Gives]] = {}
        for step in steps:
            for giver in step.takes_of if step.lives_on_frames else ():
                if apart(by_id[giver], step) or step.operator.once:
                    self._takers.setdefault(giver, {})[step.plane, step.late] = 0
                    self._gives[giver] = {g.name: g for g in by_id[giver].operator.gives}
        self._kept: dict[str, deque[StepValues]] = {giver: deque() for giver in self._takers}
        # Of each plane when its newest frames were taken, and which snapshots are taken of its steps, how often.
        of_planes = [step for step in steps if step.operator.once]
        self._times: dict[str, deque[tuple[int, np.ndarray]]] = {
            by_id[giver].plane: deque() for step in of_planes for giver in step.pools_of
        }
        self._shots: dict[tuple[str, str], deque[tuple[int, np.ndarray]]] = {}
        self._due: dict[tuple[str, bool], set[tuple[int, str, str]]] = {}  # by plane, and whether late steps give them
        for step in steps:
            taken = (step.pools.get(need) or (step.givers[need],) for need in step.snapshots)
            for giver, name in (pair for pairs in taken for pair in pairs):
                if not (step.operator.once or apart(by_id[giver], step)):
                    continue
                self._shots[giver, name] = deque(maxlen=MAX_SHOTS)
                place = by_id[giver].plane, by_id[giver].late
                self._due.setdefault(place, set()).add((step.operator.reads_every, giver, name))
        self._plane = {step.id: step.plane for step in steps}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, values: StepValues) -> None:
        """Keep a step's values, if another plane takes them."""
        if (kept := self._kept.get(values.step)) is not None:
            kept.append(values)
            while sum(v.frames for v in kept) > MAX_FRAMES:
                kept.popleft()

    def values(self, giver: str, name: str, index: int, count: int) -> np.ndarray | None:
        """Return a value of `count` frames from `index` on, NaN, 0 or False of those that it was not given for.

        None where nothing says what a value of one frame looks like.
        """
        kept = [v for v in self._kept[giver] if name in v.arrays]
        unknown = _unknown(kept[-1].arrays[name], count) if kept else _blank(self._gives[giver][name], count)
        if unknown is None:
            return None
        for part in kept:
            first, stop = max(index, part.index), min(index + count, part.index + part.frames)
            if first < stop:
                unknown[first - index : stop - index] = part.arrays[name][first - part.index : stop - part.index]
        return unknown

    def pooled(self, givers: Sequence[tuple[str, str]], index: int, count: int) -> np.ndarray:
        """Return a value of `count` frames of several planes' steps (planes, t, …), NaN where it is not valid."""
        planes = []
        for giver, name in givers:
            if (values := self.values(giver, name, index, count)) is None:
                raise FrameError(f"step {giver!r} gave no {name!r} for these frames, nor for any before them")
            if VALID in self._gives[giver] and (valid := self.values(giver, VALID, index, count)) is not None:
                values[~valid.astype(bool)] = np.nan
            planes.append(values)
        return np.stack(planes)

    def pooled_by_id(self, givers: Sequence[tuple[str, str]], index: int, count: int) -> dict[str, np.ndarray]:
        """Return a value by id of `count` frames of several planes side by side, and whose they are.

        "" (t, n), NaN where it is not known or who has it is not there; IDS and PLANES (n,); TIMES (planes, t), -1 of
        frames that were not seen.
        """
        ids, values = list[np.ndarray](), list[np.ndarray]()
        times = np.full((len(givers), count), NO_TIME, np.int64)
        for n, (giver, name) in enumerate(givers):
            kept = [v for v in self._kept[giver] if name in v.arrays and v.index < index + count]
            kept = [v for v in kept if v.index + v.frames > index]
            found = np.unique(np.concatenate([np.empty(0, np.int64), *(v.arrays[IDS] for v in kept)]))
            rows = np.full((count, len(found)), np.nan)
            for part in kept:
                here = slice(max(index, part.index) - index, min(index + count, part.index + part.frames) - index)
                there = slice(here.start + index - part.index, here.stop + index - part.index)
                value = np.asarray(part.arrays[name][there], float)
                if PRESENT in part.arrays:
                    value = np.where(part.arrays[PRESENT][there], value, np.nan)
                rows[here, np.searchsorted(found, part.arrays[IDS])] = value
            ids.append(found)
            values.append(rows)
            for first, of in self._times[self._plane[giver]]:
                start, stop = max(first, index), min(first + len(of), index + count)
                if start < stop:
                    times[n, start - index : stop - index] = of[start - first : stop - first]
        planes = np.repeat(np.arange(len(givers)), [len(found) for found in ids])
        return {"": np.concatenate(values, 1), IDS: np.concatenate(ids), PLANES: planes, TIMES: times}

    def snapshots(self, givers: Sequence[tuple[str, str]], index: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a snapshot of several planes' steps as of before frame `index`, end to end, and the planes' numbers.

        None unless there is one that was not taken yet.
        """
        found = [[array for at, array in self._shots[pair] if at <= index] for pair in givers]
        newest = [(n, arrays[-1]) for n, arrays in enumerate(found) if arrays]
        if not newest:
            return None
        if len({array.shape[1:] for _, array in newest}) > 1:
            shapes = ", ".join(f"{givers[n][0]} {array.shape[1:]}" for n, array in newest)
            raise FrameError(f"{givers[0][1]!r} of several planes must be alike, found {shapes}")
        planes = np.repeat([n for n, _ in newest], [len(array) for _, array in newest])
        return np.concatenate([array for _, array in newest]), planes

    def snapshot(self, giver: str, name: str, stop: int) -> np.ndarray | None:
        """Return a snapshot as of before frame `stop`, None where its plane lacks the frame before that."""
        return next((array for at, array in self._shots[giver, name] if at == stop), None)

    def cuts(self, plane: str, late: bool) -> set[int]:
        """Return how often snapshots of a plane's steps, late ones or the others, are taken: its blocks end there."""
        return {every for every, _, _ in self._due.get((plane, late), ())}

    def came(self, plane: str, late: bool, block: Block, read: Callable[[str, str], np.ndarray | None]) -> None:
        """A plane's steps have done with a block: keep its times, and the snapshots that are due behind it."""
        if plane in self._times and not late:
            self._times[plane].append((block.index, np.array(block.times_ns)))
        for every, giver, name in sorted(self._due.get((plane, late), ())):
            if block.stop % every == 0 and (array := read(giver, name)) is not None:
                self._shots[giver, name].append((block.stop, array))

    def restored(self, reached: Mapping[str, int | None], read: Callable[[str, str], np.ndarray | None]) -> None:
        """Keep the snapshots that were due behind the frames that steps had `reached`: no state has them."""
        for every, giver, name in sorted(due for found in self._due.values() for due in found):
            at = reached.get(giver)
            if at and at % every == 0 and (array := read(giver, name)) is not None:
                self._shots[giver, name].append((at, array))

    def passed(self, plane: str, index: int, late: bool) -> None:
        """A plane takes no more values of frames before `index`, by late steps or by the others."""
        for giver, takers in self._takers.items():
            if (plane, late) in takers:
                takers[plane, late] = index
                kept, oldest = self._kept[giver], min(takers.values())
                # One is kept in any case: it says what values look like.
                while len(kept) > 1 and kept[0].index + kept[0].frames <= oldest:
                    kept.popleft()
                for (of, _), shots in self._shots.items():
                    while of == giver and shots and shots[0][0] < oldest:
                        shots.popleft()
                times = self._times.get(self._plane[giver], ())
                while times and times[0][0] + len(times[0][1]) <= oldest:
                    times.popleft()

    def waits(self) -> bool:
        """Whether values or snapshots are kept that a plane has not come to yet, but one that is not waited for."""
        behind = (
            kept[-1].index + kept[-1].frames - reached
            for giver, kept in self._kept.items()
            for reached in self._takers[giver].values()
            if kept
        )
        shots = (
            at - reached
            for (giver, _), kept in self._shots.items()
            for at, _ in kept
            for reached in self._takers[giver].values()
        )
        return any(0 < frames <= SILENT_FRAMES for frames in (*behind, *shots))


def _unknown(like: np.ndarray, count: int) -> np.ndarray:
    fill = np.nan if like.dtype.kind == "f" else 0
    return np.full((count, *like.shape[1:]), fill, like.dtype)


def _blank(given: Gives, count: int) -> np.ndarray | None:
    """What is known of values before the first of them came: nothing of each frame, if the axes have a known length."""
    widths = [_WIDTHS.get(dim) for dim in given.dims[1:]]
    if None in widths:
        return None
    shape = (count, *(width for width in widths if width is not None))
    return np.zeros(shape, bool) if given.name == VALID else np.full(shape, np.nan)
