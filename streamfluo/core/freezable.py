"""Operators that take parts of a recording at the same time, once they have learned from a sample of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from .operator import Operator, Output


class Freezable(Operator):
    """An operator that learns from a sample of a recording, and then takes any part of it by itself.

    What it carries from frame to frame is that of a single run once it has seen `warm_up_frames` before a part; what
    it says of a frame later it has said `run_out_frames` behind it. Rows of the tables in `of_sample` tell of what was
    learned: they are kept of the sample, and parts give none. `tolerances` are by measure how far the results of parts
    may lie from those of a single run. One that does not learn at all (`learns` False) needs no sample: its parts are
    equal to the single run to the bit, as long as no frame of the warm-up is lost.
    """

    learns: ClassVar[bool] = True
    of_sample: ClassVar[tuple[str, ...]] = ()
    tolerances: ClassVar[Mapping[str, float]] = {}

    @property
    @abstractmethod
    def warm_up_frames(self) -> int:
        """Frames before a part that it sees, and gives no results of."""

    @property
    def run_out_frames(self) -> int:
        """Frames behind a part that it sees, so that what it says later of the part's last ones is said."""
        return 0

    @abstractmethod
    def freeze(self) -> None:
        """Keep what was learned from now on; frames of any index come next.

        Called once, on the state that the sample left. Raises ConfigError where the sample taught too little.
        """

    @abstractmethod
    def begin_part(self) -> None:
        """The frames of the part begin now, behind those that warm up: what adds up frames begins anew."""

    @abstractmethod
    def absorb(self, other: Self) -> None:
        """Take over what the part that FOLLOWS this one found; `other` is not used any more."""

    def conclude(self) -> Output | None:
        """Return the rows of tables in `of_sample` that only all parts together tell, behind the last `absorb`."""
        return None
