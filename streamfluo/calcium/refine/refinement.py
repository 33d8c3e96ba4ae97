"""Refinement of a recorded extraction: passes over all frames that may look ahead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.errors import SessionError
from ...core.params import build_params, with_present_names
from ...core.refinement import Recording, Refined
from ...core.registry import find_operator
from ..extract import results
from ..extract.activity import Deconvolution
from ..extract.background import FrameSums
from ..extract.first_frames import FirstFrames, SceneWatch
from ..extract.params import DECAY_S, RISE_S, ExtractParams, interval_s_of, offset_adu_of
from ..extract.tables import Tables
from ..time_constants import TimeConstants
from .final_values import final_values
from .first_run import first_components, first_free_id, keep_marks, tell_decisions
from .looking_ahead import Course, LookingAhead, course_of, time_constants
from .whole_extraction import WholeExtraction
from .whole_pieces import joined

SAMPLED = 200  # frames, evenly spread, whose fluctuations give the background modes
FULL_TRACES = 9  # of each component, that are held at a time: two courses, and the final activity


def refined_extract(recording: Recording, passes: int = 1) -> Refined:
    """Return the components of a recorded extraction after passes over all of its frames.

    One pass gives background and noise, one the activity of the components that the run found; each of `passes` updates
    footprints with activity deconvolved over all frames, finds components that the run missed, joins, removes and
    accepts; a last one gives the final activity, from the first frame on. Raises SessionError where the run left none.
    """
    params, shape, offset_adu = _params(recording), recording.spec.shape, offset_adu_of(recording.spec)
    interval_s = interval_s_of(params, recording.spec)
    first, frames = first_components(recording.step), _Frames(recording)
    usual = Deconvolution(interval_s, params.decay_s or DECAY_S, params.rise_s or RISE_S, params.ar_order)
    extraction, course, constants = WholeExtraction(params, shape, usual, offset_adu), None, None
    sampled = extraction.begin(*frames.sums())
    extraction.add_first(first, first_free_id(recording.step, first))
    for n in range(passes):
        number = f" {n + 1}" if passes > 1 else ""
        raw, _ = extraction.demixed(frames.again(f"traces{number}"), course, learn=True)
        ids, raw = _by_id(extraction, raw)
        constants = constants or _constants(extraction, raw, interval_s)
        course = course_of(ids, raw, constants, interval_s, final=False)
        ahead = LookingAhead(course, interval_s, params.ar_order)
        before, extraction = extraction, WholeExtraction(params, shape, ahead, offset_adu)
        extraction.begin_with(before)
        del before
        extraction.learn(frames.again(f"footprints{number}"), ahead)
    raw, modes = extraction.demixed(frames.again("final traces"), course, learn=False)
    raw = joined(extraction.cells, raw, params, extraction.tables, int(frames.index[-1]))
    assert constants is not None
    found = course_of(*_by_id(extraction, raw), constants, interval_s)
    held = max(sampled, 2 * extraction.nbytes()), 4 * FULL_TRACES * extraction.cells.count
    return _refined(recording, extraction, (found, modes, frames.index), (len(first), *held))


def _params(recording: Recording) -> ExtractParams:
    """The run's parameters, those that say how it began put aside."""
    stated = with_present_names(ExtractParams, recording.params)
    stated = {name: value for name, value in stated.items() if name not in ("init", "seeds")}
    params: ExtractParams = build_params(ExtractParams, stated, f"{recording.step.folder}: step {recording.step.id!r}")
    return params


def _by_id(extraction: WholeExtraction, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids (K,) ascending, and activity (K, T) in that order."""
    order = np.argsort(extraction.cells["id"])
    return extraction.cells["id"][order].copy(), raw[order]


def _constants(extraction: WholeExtraction, raw: np.ndarray, interval_s: float) -> TimeConstants:
    """Time constants of the transients, as stated, else estimated."""
    params = extraction.params
    given = params.decay_s, params.rise_s if params.ar_order == 2 else None
    return time_constants(raw, given, params.ar_order, interval_s)


class _Frames:
    """The frames of a recording, those left out that show another scene: flashes, closed shutters."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._left_out: set[int] = set()
        self.index: np.ndarray = np.empty(0, np.int64)

    def again(self, name: str) -> Iterator[tuple[int, np.ndarray | None]]:
        """Begin a pass and yield index and frame, None where it is not valid or was left out."""
        for index, frame in self._recording.frames(name):
            yield index, None if index in self._left_out else frame

    def sums(self) -> tuple[FrameSums, FirstFrames]:
        """Return sums over all frames, and frames evenly spread over them, in one pass that also says what is left out.

        What is usual the first SAMPLED frames say; of them alone all are held.
        """
        shape, count = self._recording.spec.shape, self._recording.count
        every, index = max(1, -(-count // SAMPLED)), list[int]()
        begun, sampled, watch = FirstFrames(shape), FirstFrames(shape), SceneWatch()
        sums, usual = FrameSums(np.zeros(shape, np.float32)), None
        for n, frame in self._recording.frames("background"):
            index.append(n)
            if frame is None:
                sums.gap()
            elif usual is None:
                begun.append(n, frame)
                if len(begun) == SAMPLED:
                    sums, usual = self._begin(begun, sampled, every)
                    begun = FirstFrames(shape)
            elif watch.is_odd(frame, *usual):
                self._left_out.add(n)
                sums.gap()
            else:
                sums.add(frame - sums.first)
                if len(index) % every == 0:
                    sampled.append(n, frame)
        self.index = np.array(index, np.int64)
        if usual is None:
            if len(begun) < 2:
                raise SessionError(f"{self._recording.step.folder}: {len(begun)} valid frames are too few to refine")
            sums, _ = self._begin(begun, sampled, every)
        return sums, sampled

    def _begin(
        self, begun: FirstFrames, sampled: FirstFrames, every: int
    ) -> tuple[FrameSums, tuple[np.ndarray, np.ndarray]]:
        """Sums over the first frames that show the scene, and their mean and 1 / noise (y, x)."""
        left_out, kept = begun.of_scene()
        self._left_out.update(left_out)
        sums = FrameSums(kept.first.copy())
        for n, part in enumerate(kept):
            sums.add(part)
            if n % every == 0:
                sampled.append(kept.frames[n], part + kept.first)
        total, squares, observed, pairs = sums.arrays
        variance = squares / np.maximum(2 * pairs, 1)
        weight = np.where(variance > 0, 1 / np.sqrt(np.maximum(variance, np.float32(1e-12))), np.float32(0))
        return sums, (sums.first + total / np.maximum(observed, 1), weight)


def _refined(
    recording: Recording,
    extraction: WholeExtraction,
    found: tuple[Course, np.ndarray, np.ndarray],
    counts: tuple[int, int, int],
) -> Refined:
    """What is left of a refinement: values, snapshots, tables.

    found: activity of components and of background modes, index of the frames; counts: components before, bytes held,
    and those of each frame.
    """
    (course, modes, index), cells, tables = found, extraction.cells, Tables()
    cells["birth"][:] = index[0]
    keep_marks(recording.step, cells)
    tables.add("events", extraction.tables.give()["events"])
    tell_decisions(recording.step, tables)
    probability = extraction.seen.of_all(cells)
    tables.add("quality", results.quality_table(cells, probability, int(index[-1])))
    snapshots = {
        "footprints": results.footprints(cells, extraction.background),
        "quality_now": results.quality(cells, probability),
        "contours": results.contours(cells, extraction.background), "next_id": np.array(cells.next_id),
        "structural_contours": results.structural_contours(cells, extraction.background),
        "background": extraction.background_image(),
        "residual": results.residual(extraction.recent[0], extraction.background),
        "detection": results.of_observed(extraction.detector.image(extraction.shape), extraction.background),
    }  # fmt: skip
    before, *held = counts
    accepted = int(cells["accepted"].sum())
    said = f"{accepted} cells accepted of {cells.count} candidates; the run had left {before} candidates"
    operator = find_operator(recording.step.kind)(extraction.params, recording.spec)
    return Refined(operator, final_values(cells, course, modes, index, tables), snapshots, said, *held)
