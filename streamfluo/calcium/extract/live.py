"""What takes frames one by one: it collects the first ones, and extracts once it has begun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.state import State, require_int
from ..values_by_id import values_by_id
from .card_frame import Frame, on_host
from .extraction import LiveValues
from .first_frames import FirstFrames, SceneWatch
from .frozen_extraction import FrozenExtraction
from .matched_seeds import MatchedSeeds, matched_seeds
from .motion_correlation import add_motion
from .seeds import Seeds

VALUES = ("traces", "raw", "spikes", "dff")
LISTED = 12  # cells of another day that are not seen
NO_COMPONENTS: LiveValues = (np.empty(0, np.int64), np.empty((4, 0)))


class Live:
    """An extraction with the frames that it begins from, and the watch over what is no frame of its scene."""

    def __init__(self, extraction: FrozenExtraction) -> None:
        self.extraction = extraction
        self.begun, self.left_out, self._mismatch = False, 0, ""
        self.first_frames, self._watch = FirstFrames(extraction.shape), SceneWatch()

    def goes_on_from(self, collected: Live) -> None:
        """Take over the frames that another one collected, and where its ids stand."""
        self.first_frames, self.left_out = collected.first_frames, collected.left_out
        self.extraction.goes_on_from(collected.extraction)

    def take(self, index: int, frame: Frame | None) -> LiveValues:
        """Take a frame (y, x), None for one that is not valid; return the values of the accepted components.

        What else it leaves to do is done by the next one, or before that by `extraction.catch_up`.
        """
        self.extraction.catch_up()
        if frame is None or (self.begun and self._is_odd(frame)):
            return self.extraction.unknown()
        if self.begun:
            return self.extraction.process(index, frame)
        self.first_frames.append(index, on_host(frame))
        return NO_COMPONENTS

    def see_motion(self, index: int, shift_px: np.ndarray) -> None:
        """Learn how the activity in the frame just taken goes with the tissue's shift (2,) [px] in it."""
        if self.begun and self.extraction.next_index == index + 1:
            add_motion(self.extraction.cells, shift_px)

    def counts(self) -> tuple[int, int]:
        """Return how many components are accepted as of the last frame, and how many are candidates.

        Those that a person has rejected are neither.
        """
        return self.extraction.cells.listed().counts

    def learn(self, index: int, frame: Frame | None) -> None:
        """Take a frame, and do all that it leaves to do."""
        self.take(index, frame)
        self.extraction.catch_up()

    def begin(self, seeds: Seeds) -> None:
        """Initialise with the frames that were collected, and process them."""
        left_out, frames = self.first_frames.of_scene()
        self.left_out += len(left_out)
        self.begun, self.first_frames = True, FirstFrames(self.extraction.shape)
        matched = matched_seeds(seeds, frames) if seeds.match else MatchedSeeds(seeds, {}, "")
        self._mismatch = matched.mismatch
        for number, reason in matched.refused.items():
            self.extraction.tables.add_event(frames.frames[0], number, "refused", reason)
        self.extraction.initialise(frames.first, frames.frames, frames, matched.seeds)

    def doubts(self, seeds: Seeds) -> list[str]:
        """Return what limits the results; of seeds of another day also which are not seen."""
        told = self.extraction.doubts(self.left_out)
        if not seeds.match:
            return told
        if self._mismatch:
            return [self._mismatch, *told]
        cells = self.extraction.cells
        seen = set(cells["id"][cells["accepted"]].tolist())
        missing = [str(number) for number in seeds.ids if number not in seen]
        if missing:
            listed = ", ".join(missing[:LISTED]) + (f" and {len(missing) - LISTED} more" if missing[LISTED:] else "")
            told.append(f"not seen of the {len(seeds.ids)} cells of {Path(seeds.folder).name}: {listed}")
        return told

    def _is_odd(self, frame: Frame) -> bool:
        """Whether a frame is a flash or a closed shutter; the scene is learned anew where it lasts and no cell is."""
        background = self.extraction.background
        odd = self._watch.is_odd(frame, background.mean, background.weight)
        unknown = not (self.extraction.frozen or self.extraction.cells["accepted"].any())
        if self._watch.lasting and unknown:
            self.extraction.begin_again()
            self.begun, self._watch, self.first_frames = False, SceneWatch(), FirstFrames(self.extraction.shape)
        self.left_out += odd
        return odd

    def state(self) -> State:
        """Return all carried values as state entries."""
        begun: State = {"begun": int(self.begun), "left_out": self.left_out}
        return {**begun, **self.first_frames.state(), **self._watch.state(), **self.extraction.state()}

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        self.extraction.restore(state)
        self.begun = bool(require_int(state, "begun", where))
        self.left_out = require_int(state, "left_out", where)
        self.first_frames.restore(state, where)
        self._watch.restore(state, where)


def values_of(frames: Sequence[LiveValues], counts: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Return values (t, K) by id of frames whose ids may differ, 0 where an id is not present; and `counts` (t, 2)."""
    return {**values_by_id(VALUES, frames), "components": np.array(counts, np.int32).reshape(-1, 2)}
