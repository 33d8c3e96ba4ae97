"""Values that steps take from another plane, or late: kept until those that want them have passed their frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from ..core.errors import FrameError
from ..core.operator import Gives
from ..core.step_values import StepValues
from ..core.unseen import VALID
from .building import Step, apart
from .silent_planes import SILENT_FRAMES

MAX_FRAMES = 4096  # of one step: a plane that stopped coming makes others keep no more
MAX_PICTURES = 4  # of one snapshot: likewise
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
                if apart(by_id[giver], step):
                    self._takers.setdefault(giver, {})[step.plane, step.late] = 0
                    self._gives[giver] = {g.name: g for g in by_id[giver].operator.gives}
        self._kept: dict[str, deque[StepValues]] = {giver: deque() for giver in self._takers}
        # Of each snapshot that another plane takes its takers, how often they do, and what it was behind which frame.
        self._read: dict[tuple[str, str], dict[tuple[str, bool], int]] = {}
        for step in steps:
            for giver, name in (step.givers[need] for need in step.snapshots):
                if apart(by_id[giver], step):
                    self._read.setdefault((giver, name), {})[step.plane, step.late] = step.operator.reads_every
        self._pictures: dict[tuple[str, str], dict[int, np.ndarray]] = {at: {} for at in self._read}
        self._plane_of = {giver: (by_id[giver].plane, by_id[giver].late) for giver, _ in self._read}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, values: StepValues) -> None:
        """Keep a step's values, if another plane takes them."""
        if (kept := self._kept.get(values.step)) is not None:
            kept.append(values)
            while sum(v.frames for v in kept) > MAX_FRAMES:
                kept.popleft()

    def read_in(self, plane: str, late: bool) -> set[int]:
        """Return how often snapshots of a plane's steps are taken by others, each so many frames."""
        found = (takers.values() for at, takers in self._read.items() if self._plane_of[at[0]] == (plane, late))
        return {every for takers in found for every in takers}

    def due(self, plane: str, late: bool, stop: int) -> list[tuple[str, str]]:
        """Return the snapshots, step and name, that are to be kept once a plane has come to before frame `stop`."""
        return [
            at
            for at, takers in self._read.items()
            if self._plane_of[at[0]] == (plane, late) and any(stop % every == 0 for every in takers.values())
        ]

    def keep(self, at: tuple[str, str], stop: int, picture: np.ndarray) -> None:
        """Keep a snapshot as it was before frame `stop`."""
        pictures = self._pictures[at]
        pictures[stop] = picture
        while len(pictures) > MAX_PICTURES:
            del pictures[min(pictures)]

    def picture(self, giver: str, name: str, stop: int) -> np.ndarray | None:
        """Return a snapshot as it was before frame `stop`, None where its plane lacks the frame before that."""
        return self._pictures[giver, name].get(stop)

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

    def passed(self, plane: str, index: int, late: bool) -> None:
        """A plane takes no more values of frames before `index`, by late steps or by the others."""
        for giver, takers in self._takers.items():
            if (plane, late) in takers:
                takers[plane, late] = index
                kept, oldest = self._kept[giver], min(takers.values())
                # One is kept in any case: it says what values look like.
                while len(kept) > 1 and kept[0].index + kept[0].frames <= oldest:
                    kept.popleft()
        for (giver, _), pictures in self._pictures.items():
            oldest = min(self._takers[giver].values())
            for stop in [stop for stop in pictures if stop <= oldest]:
                del pictures[stop]

    def waits(self) -> bool:
        """Whether values are kept that a plane has not come to yet, but one that is not waited for."""
        behind = (
            kept[-1].index + kept[-1].frames - reached
            for giver, kept in self._kept.items()
            for reached in self._takers[giver].values()
            if kept
        )
        pictures = (
            stop - self._takers[giver][taker]
            for (giver, name), takers in self._read.items()
            for stop in self._pictures[giver, name]
            for taker in takers
        )
        return any(0 < frames <= SILENT_FRAMES for frames in (*behind, *pictures))


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
