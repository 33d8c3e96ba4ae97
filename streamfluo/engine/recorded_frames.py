"""Which steps have their frames recorded: those that [record] names, in every plane that has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, did_you_mean
from ..core.plane import in_plane
from ..core.wire import SOURCE
from ..session.step_frames import HandedFrames
from .building import Step
from .config import Config

PIECE_BYTES = 16 << 20


def recorded_frames(config: Config, steps: Iterable[Step]) -> Mapping[str, HandedFrames]:
    """Return what a step hands on, for each step that [record] names.

    Raises ConfigError for a step there is not, one that hands on no frames of its own, and one whose frames are whole
    numbers: a frame that never came could not be told from a black one.
    """
    steps, found = list(steps), dict[str, HandedFrames]()
    for name in config.record.steps:
        named = [step for step in steps if step.config.id == name]
        where = f"{config.where}: [record] steps: {name!r}"
        own = [step for step in named if any(given.kind == "frames" for given in step.operator.gives)]
        if not own:
            handing = [s.config.id for s in steps if any(given.kind == "frames" for given in s.operator.gives)]
            said = "hands on no frames of its own" if named else "is no step of the chain"
            hint = did_you_mean(name, dict.fromkeys(handing)) if handing else "; no step of this chain does"
            raise ConfigError(f"{where} {said}{hint}")
        for step in own:
            spec = step.operator.out_spec
            if np.dtype(spec.dtype).kind != "f":
                raise ConfigError(f"{where} hands on {spec.dtype}; frames are recorded where they are float, as means")
            same = step.axis == in_plane(step.plane, SOURCE) and step.operator.frame_axis == "same"
            found[step.id] = HandedFrames(spec, same)
    return found


def copied(block: Block) -> Iterator[Block]:
    """Yield the frames of a block with pixels of their own, of at most PIECE_BYTES at a time or one frame: those of a
    step are valid until its next update, and 32 frames of 2048 × 2048 are half a GiB."""
    length = max(1, PIECE_BYTES // max(1, block.nbytes // len(block)))
    for start in range(block.index, block.stop, length):
        part = block.cut(start, min(start + length, block.stop))
        yield Block(part.index, part.times_ns, part.pixels.copy(), part.channel, part.z, part.user)
