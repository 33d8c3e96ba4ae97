"""Sources: anything that gives frames, behind one small contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from .block import Block
from .control import Change
from .decision import Decision
from .plane import ONE_PLANE
from .spec import Spec

MAX_BLOCK_FRAMES = 32
PAUSED = "paused"  # the reason of a gap that was asked for
NO_PLANES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Gap:
    """`count` frames from index `first` on that never came; `reason` is who lost them: camera or transport.

    `plane` is the one they are missing of, "" where the stream has one.
    """

    first: int
    count: int
    reason: str = "transport"
    plane: str = ONE_PLANE


@dataclass(frozen=True)
class Series:
    """Who a stream of frames is: its uid, where it comes from, when it began, how long it is (None: unbounded)."""

    uid: str
    source: str
    t0_ns: int = 0
    frames: int | None = None
    user: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """Frames in order, as blocks; a jump of `Block.index` is a gap. Each plane has its own index.

    A context manager. `spec` and `series` are known once it is open. `truth` holds what a simulator knows, by name.
    `seekable`: any index can be served again. `path`: the file, where there is one to refer to.
    """

    selections: ClassVar[tuple[str, ...]] = ()  # what may be selected of a file, as in `recording.tif?frames=0:100`
    spec: Spec
    series: Series
    seekable: bool = True
    path: Path | None = None
    query: str | None = None  # what of `path` is read, as `frames=0:100`; None: what stands in `series.source`
    refused: Mapping[str, int] = MappingProxyType({})  # messages dropped, by the rule they broke
    patience_s: float = 0.0  # how long to wait for somebody who went away, if longer than usual
    changes: Sequence[Change | Decision] = ()  # made while these frames were recorded, to be made again
    joined_seq: int = 0  # frames that were sent before our first one, of a stream that was joined late
    ended: str = "finished"  # how the series ended, once it has: finished, aborted or error

    @abstractmethod
    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        """Yield the frames from the present position on, in blocks of at most `max_frames`, to the end."""

    @abstractmethod
    def seek(self, index: int) -> None:
        """Make `index` the next frame. Raises SourceError outside the series."""

    def recall(self, spec: Spec, series: Series) -> None:
        """Take over what the session that goes on knows of this series and was not said again."""
        self.spec, self.series = spec, series

    def resume(self, index: int, seq: int, planes: Mapping[str, int] = NO_PLANES) -> None:
        """Go on after a break: `index` is the next frame, `seq` how many were emitted before it.

        Of several `planes` each one's next frame; `index` is then the lowest, and frames may come again.
        """
        self.seek(index)

    def interrupt(self) -> None:  # noqa: B027 - only a source that waits can be interrupted
        """Make `blocks` end soon; callable from any thread."""

    @property
    def truth(self) -> Mapping[str, np.ndarray]:
        """What is known beforehand about the series, by name; empty for recordings."""
        return {}

    def times_ns(self, plane: str = ONE_PLANE) -> np.ndarray | None:
        """Return the time (T,) of each frame of a plane by index; None where only the frames themselves say it."""
        return None

    def acknowledge(self, index: int) -> None:  # noqa: B027 - a file does not mind
        """Everything before frame `index` is safe with us; the source may forget it."""

    def keep_alive(self) -> None:  # noqa: B027 - only the network has somebody who waits
        """We are still here, though no frame is taken for now; called by the thread that takes frames."""

    def finished(self) -> None:  # noqa: B027 - only the network has somebody to tell
        """Everything up to the end of the series is safe with us."""

    def following(self) -> Source | None:
        """Return the source of the series that comes next on the same endpoint, once it begins; this one is over.

        None where it has to be opened anew.
        """
        return None

    def close(self) -> None:  # noqa: B027
        """Give files and sockets back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def first_index(source: Source) -> int:
    """Return the index that a seekable source begins with, by its first frame; that is the next one again.

    Frames that are selected of a session keep the indices they were recorded with; others begin at 0.
    """
    item = next(iter(source.blocks(1)), None)
    if item is None:
        return 0
    first = item.first if isinstance(item, Gap) else item.index
    source.seek(first)
    return first
