"""What a data endpoint serves: frames by seq, from a file that can be read again or from a live source's history."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..core import wire
from ..core.block import Block
from ..core.errors import SessionError, SourceError, StreamfluoError
from ..core.plane import ONE_PLANE
from ..core.source import Gap, Series, Source
from ..core.spec import Spec
from .continuation import Continuation, Mark, boot_id, steady_ns
from .socket import Waker

HISTORY_BYTES = 512 << 20
READ_ON_FRAMES = 64  # so far ahead a replay reads on, further it seeks
READ_S = 0.02  # so long a source is waited for at once; the first block of a simulation takes a second of a core
READ_BYTES = 1 << 20  # of a journal at once: a frame that waits for a consumer keeps all that were read with it


class Frames(ABC):
    """Frames of one series by seq. `oldest` is the first seq there still is, `total` one past the last, once known.

    `ended` says how the series ended: finished, aborted or error. `waker` wakes who serves them when frames come.
    """

    spec: Spec
    series: Series
    oldest: int = 0
    total: int | None = None
    dropped_camera: int = 0
    paced: bool = False  # frames leave by the clock, taken or not
    ended: str = "finished"
    waker: Waker | None = None

    @abstractmethod
    def frontier(self) -> int:
        """One past the newest frame that may leave now."""

    @abstractmethod
    def block(self, seq: int) -> Block | wire.Gap | None:
        """Return frames with consecutive seqs from `seq` on, at least one; None if they are gone, or not read yet.

        A gap where there is no such frame, or a damaged one. Raises SourceError if nothing can be read any more.
        """

    def gap(self, seq: int) -> wire.Gap:
        """Return the message that says that this frame is not there."""
        return wire.Gap(series_uid=self.series.uid, first=seq, last=seq)

    def start(self) -> wire.Start:
        """Return the message that announces the series."""
        series = self.series
        return wire.fitting(
            wire.Start(
                series_uid=series.uid,
                source=series.source,
                t0_ns=series.t0_ns,
                frames=self.total,
                user=dict(series.user),
                **self.spec.to_header(),
            )
        )

    def begin(self) -> None:  # noqa: B027 - only a paced or a live source waits for the word
        """Somebody can take frames, or nobody is waited for: the series begins."""

    def pause_s(self, frontier: int) -> float:
        """How long until a frame from `frontier` on is due, at most."""
        return math.inf

    def last_seq(self) -> int:
        """Return the highest seq that may be asked for."""
        return self.total if self.total is not None else (1 << 62) - 1

    def close(self) -> None:  # noqa: B027
        """Stop what feeds them."""


class ReplayedFrames(Frames):
    """Frames of a seekable source, `fps` a second (None: all at once); with `loop` it begins anew behind its end.

    A source that does not state its interval has that of `fps`. Of several planes `fps` is the rate of each, and they
    leave in turn, the frames of one index one after the other. A thread reads them: however long that takes, who serves
    them goes on telling consumers that it is there.
    """

    def __init__(self, source: Source, fps: float | None = None, loop: bool = False) -> None:
        self._untimed = source.spec.interval_s is None and fps is not None
        self.spec = source.spec.with_(interval_s=1 / fps) if self._untimed and fps else source.spec
        self.series = source.series
        self.length = source.series.frames
        self.total = None if loop else self.length
        self.paced = fps is not None
        self._source, self._fps = source, fps
        self._interval_ns = round((self.spec.interval_s or 0) * 1e9)
        self._began: float | None = None
        self._planes = source.spec.plane_names
        self._recent: deque[Block] = deque(maxlen=4 * len(self._planes))  # consumers side by side share reads
        self._holes: dict[str, tuple[int, int]] = {}  # of each plane the last frames found missing: first, one past
        self._position = 0
        self._blocks: Iterator[Block | Gap] = source.blocks()
        self._thread = ThreadPoolExecutor(1, "replay")
        self._reading: Future[Block | None] | None = None
        self._was_read: Block | None = None

    def begin(self) -> None:
        self._began = self._began or time.monotonic()

    def frontier(self) -> int:
        end = self.total if self.total is not None else self.last_seq()
        if self._began is None:
            return 0
        if self._fps is None:
            return end
        return min(end, (int((time.monotonic() - self._began) * self._fps) + 1) * len(self._planes))

    def pause_s(self, frontier: int) -> float:
        if self._reading is not None:
            return 0.0
        if self._fps is None or self._began is None:
            return math.inf
        return max(0.0, self._began + frontier / len(self._planes) / self._fps - time.monotonic())

    def last_seq(self) -> int:
        # A looped series ends where its times leave 64 bits.
        return self.total if self.total is not None else (1 << 62) // max(1, self._interval_ns)

    def block(self, seq: int) -> Block | wire.Gap | None:
        index, n = divmod(seq, len(self._planes))
        at = index if self.total is not None or self.length is None else index % (self.length // len(self._planes))
        if self._reads():
            return None
        block = self._found(at, self._planes[n])
        if block is None:
            self._reading = self._thread.submit(self._read, at, self._planes[n])
            if self._reads():
                return None
            block = self._was_read
        if block is None:
            return self.gap(seq)
        block = block.cut(at, block.stop if len(self._planes) == 1 else at + 1)
        if self._untimed:
            times_ns = (index + np.arange(block.stop - at)) * self._interval_ns
            return block.at(index, times_ns)
        if index == at:
            return block
        return block.at(index, block.times_ns + (index - at) * self._interval_ns)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _reads(self) -> bool:
        """Whether the thread goes on reading for longer than READ_S; raises what it raised."""
        if self._reading is not None and wait((self._reading,), READ_S).done:
            reading, self._reading = self._reading, None
            self._was_read = reading.result()
        return self._reading is not None

    def _found(self, at: int, plane: str) -> Block | None:
        """The block of a plane that holds a frame, if it was read lately."""
        return next((b for b in self._recent if b.index <= at < b.stop and self._plane(b) == plane), None)

    def _plane(self, item: Block | Gap) -> str:
        return item.plane if len(self._planes) > 1 else ONE_PLANE

    def _read(self, at: int, plane: str) -> Block | None:
        """Read on until a frame of a plane has come; None if there is no such one."""
        first, behind = self._holes.get(plane, (0, 0))
        if first <= at < behind:
            return None
        if not self._position <= at < self._position + READ_ON_FRAMES:
            self._source.seek(at)
            self._blocks, self._position = self._source.blocks(), at
        for item in self._blocks:
            if isinstance(item, Gap):
                first, behind = item.first, item.first + item.count
            else:
                first, behind = item.index, item.stop
                self._recent.append(item)
            # The other planes of these frames come behind this one.
            self._position = behind if len(self._planes) == 1 else first
            if self._plane(item) == plane and behind > at:
                if isinstance(item, Block) and first <= at:
                    return item
                self._holes[plane] = (at, behind if isinstance(item, Gap) else first)
                return None
        if self.length is None:
            raise SourceError(f"{self._source.series.source}: no frame {at}")
        self._holes[plane] = (at, self.length)
        return None


class LiveFrames(Frames):
    """Frames of a live source, taken in by a thread of its own, the newest `max_bytes` of them kept.

    The source is never held up: what falls out of the history unread is a gap to whoever still needed it. With a
    `continuation` the series of a server that died goes on: the frames lost meanwhile count as emitted and gone.
    """

    waker: Waker

    def __init__(
        self, source: Source, max_bytes: int = HISTORY_BYTES, continuation: Continuation | None = None
    ) -> None:
        self.spec, self.series = source.spec, source.series
        self.waker, self.paced = Waker(), True
        self.error: str | None = None
        self._continuation = continuation
        self._mark = continuation.mark if continuation else None
        if self._mark is not None:
            self.series = replace(source.series, uid=self._mark.uid, t0_ns=self._mark.t0_ns)
        self.oldest = self._next = self._mark.seq if self._mark else 0
        self._index_shift = 0  # a camera that died with its server counts from 0 again
        self._time_shift_ns = source.series.t0_ns - self.series.t0_ns
        self._source, self._max_bytes, self._nbytes = source, max_bytes, 0
        self._stopped = False
        self._history: deque[Block] = deque()
        self._seqs: deque[int] = deque()  # the first seq of each block
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._take_in, name="camera", daemon=True)

    def begin(self) -> None:
        if not self._thread.ident:
            self._thread.start()

    def frontier(self) -> int:
        return self._next

    def block(self, seq: int) -> Block | None:
        with self._lock:
            at = bisect_right(self._seqs, seq) - 1
            if at < 0:
                return None
            block = self._history[at]
            first = block.index + seq - self._seqs[at]
        return block.cut(first, block.stop)

    def stop(self) -> None:
        """End the series here; what was taken in is still served."""
        self._stopped = True
        self._source.interrupt()
        if not self._thread.ident:
            self.total, self.ended = self._next, "aborted"

    def close(self) -> None:
        self._source.interrupt()
        if self._thread.ident:
            self._thread.join(5)
        self.waker.close()

    def _take_in(self) -> None:
        try:
            for item in self._source.blocks():
                if isinstance(item, Gap):
                    self.dropped_camera += item.count
                else:
                    self._keep(item)
            self.ended = "aborted" if self._stopped else self._source.ended
        except StreamfluoError as error:
            self.ended, self.error = "error", str(error)
        except Exception as error:
            self.ended, self.error = "error", f"{self.series.source}: {type(error).__name__}: {error}"
        self.total = self._next
        if self._continuation is not None:
            self._continuation.forget()
        self.waker.wake()

    def _keep(self, block: Block) -> None:
        if self._mark is not None:
            missed = self._mark.missed(self._mark.away_ns, self.spec.interval_s)
            self._next, self._index_shift = self._mark.seq + missed, self._mark.index + missed - block.index
            self._mark = None
        block = block.at(block.index + self._index_shift, block.times_ns + self._time_shift_ns)
        with self._lock:
            self._history.append(block)
            self._seqs.append(self._next)
            self._next += len(block)
            self._nbytes += block.nbytes
            while self._nbytes > self._max_bytes and len(self._history) > 1:
                self._nbytes -= self._history.popleft().nbytes
                self._seqs.popleft()
            self.oldest = self._seqs[0]
        self.waker.wake()
        if self._continuation is not None:
            ran_ns, uid, t0_ns = int(block.times_ns[-1]), self.series.uid, self.series.t0_ns
            now = time.time_ns(), self._next, block.stop, ran_ns, steady_ns(), boot_id()
            self._continuation.note(Mark(uid, t0_ns, *now))


class Recorded(Protocol):
    """Frames on disk: how many there are, and any of them again by the order they were written in."""

    @property
    def frames(self) -> int: ...

    def block(self, n: int, max_frames: int) -> Block: ...

    def find(self, index: int, plane: str) -> int | None: ...

    def release(self) -> None: ...


class JournalFrames(Frames):
    """What a run has recorded, any frame again; the series ends when the run says so."""

    waker: Waker

    def __init__(self, spec: Spec, series: Series, journal: Recorded) -> None:
        self.spec, self.series = spec, series
        self.waker, self.paced = Waker(), True
        self._journal = journal

    def frontier(self) -> int:
        return self._journal.frames

    def block(self, seq: int) -> Block | wire.Gap:
        try:
            return self._journal.block(seq, max(1, READ_BYTES // self.spec.frame_nbytes))
        except SessionError:  # one damaged frame is one gap
            return self.gap(seq)

    def look(self, plane: str, index: int) -> Block | None:
        """Return the first frame of a plane from an index on, None where there is none, or it is damaged."""
        n = self._journal.find(index, plane)
        try:
            return self._journal.block(n, 1) if n is not None else None
        except SessionError:
            return None

    def finish(self, ended: str) -> None:
        """The series is over, and all of it written."""
        self.total, self.ended = self._journal.frames, ended

    def close(self) -> None:
        self._journal.release()
        self.waker.close()
