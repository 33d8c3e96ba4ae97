"""A recorded run gone through again: the steps that can be refined, with what came before them as it was recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..core.block import Block
from ..core.errors import SessionError
from ..core.operator import Operator
from ..core.params import build_params
from ..core.refinement import Recording, Refined, SeenFrame
from ..core.registry import find_operator, operator_of
from ..core.unseen import VALID, known_pixels, valid_frames
from ..session.reader import Session
from ..session.recorded_step import SessionStep
from .loading import with_files

SOURCE = "source"
Progress = Callable[[str, int, int], None]


@dataclass
class Passes:
    """How many frames each pass took, in which time [s], how much of that went into reading; `elapsed_s` in all."""

    frame_bytes: int
    frames: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reading_s: dict[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def mb_per_s(self) -> float:
        """MB of the movie a second, over all passes and what was done between them."""
        return 1e-6 * self.frame_bytes * sum(self.frames.values()) / max(self.elapsed_s, 1e-9)

    @property
    def read_mb_per_s(self) -> float:
        """MB of the movie a second, in the time that reading alone took."""
        return 1e-6 * self.frame_bytes * sum(self.frames.values()) / max(sum(self.reading_s.values()), 1e-9)


def refinable(session: Session) -> dict[str, type[Operator]]:
    """Return the steps of a plane of a session that can be refined, by id."""
    kinds = {step: operator_of(facts.kind) for step, facts in session.steps.items()}
    return {step: kind for step, kind in kinds.items() if kind is not None and kind.refine is not Operator.refine}


def refined(whole: Session, place: tuple[str, str], passes: int, progress: Progress) -> tuple[Refined, Passes]:
    """Refine a step of a session, `place` its plane and its id there; return what it gives and what the passes took.

    Raises SessionError for what cannot be refined, SourceError where its frames are gone.
    """
    plane, step = place
    session = whole.plane(plane)
    facts, kind = session.steps[step], refinable(session)[step]
    path, valid = _path_to(session, step), _valid(whole, facts.inputs.get(VALID, ""))
    _refuse_damaged(whole, session)
    spec = path[-1].out_spec if path else session.spec
    taken = Passes(session.spec.shape[0] * session.spec.shape[1] * np.dtype(session.spec.dtype).itemsize)
    count = session.frames

    def frames(name: str) -> Iterator[SeenFrame]:
        began, reading, n = time.perf_counter(), 0.0, 0
        blocks = iter(session.blocks())
        while True:
            asked = time.perf_counter()
            block = next(blocks, None)
            reading += time.perf_counter() - asked
            if block is None:
                break
            for before in path:
                output = before.update(block)
                block = output.block or block
            block = known_pixels(block)
            seen = valid_frames(block, {} if valid is None else {VALID: valid(block)})
            for t, frame in enumerate(block.pixels):
                yield block.index + t, frame if seen[t] else None
            n += len(block)
            progress(name, n, count)
        taken.frames[name], taken.reading_s[name] = n, reading
        taken.seconds[name] = time.perf_counter() - began

    began = time.perf_counter()
    found = kind.refine(Recording(SessionStep(session, step), spec, dict(facts.params), count, frames), passes)
    taken.elapsed_s = time.perf_counter() - began
    return found, taken


def _refuse_damaged(*sessions: Session) -> None:
    """Raise SessionError where values of what came before the step, as far as they were read, are damaged."""
    for damage in (found for session in sessions for found in session.damaged_so_far):
        if damage.file.parent.name == "values":  # without its shift a frame would count as one that never came
            raise SessionError(f"{damage.file}: {damage.reason}; frames cannot be corrected again: run it again")


def _path_to(session: Session, step: str) -> list[Operator]:
    """What made the frames that a step saw, from the source on: with what it measured then, where it measures."""
    chain, after = list[str](), session.steps[step].after
    while after.rpartition("/")[2] != SOURCE and after:
        if after not in session.steps:
            raise SessionError(f"{session.path}: step {step!r} came after {after!r}, of which nothing is left")
        chain.append(after)
        after = session.steps[after].after
    path, spec = list[Operator](), session.spec
    for name in reversed(chain):
        facts = session.steps[name]
        kind = find_operator(facts.kind, f"{session.path}: step {name!r}")
        if not any(given.kind == "frames" for given in kind.gives):
            continue
        stated = with_files(kind, kind.as_recorded(SessionStep(session, name), facts.params), spec)
        path.append(kind(build_params(kind.Params, stated, f"{session.path}: step {name!r}"), spec))
        spec = path[-1].out_spec
    return path


def _valid(session: Session, value: str) -> Callable[[Block], np.ndarray] | None:
    """What says which frames of a block (t,) a `step.value` of the session declares valid, None where nothing does."""
    giver, _, name = value.rpartition(".")
    if giver not in session.steps:
        return None
    known, index = session.values(giver).get(name), session.index(giver)
    if known is None or not len(index):
        return None
    by_index = np.zeros(int(index.max()) + 1, bool)
    by_index[index] = known.astype(bool)

    def valid(block: Block) -> np.ndarray:
        found = np.zeros(len(block), bool)
        part = by_index[block.index : block.stop]
        found[: len(part)] = part
        return found

    return valid
