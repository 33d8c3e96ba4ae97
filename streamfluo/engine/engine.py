"""The engine: one source, one chain, one session, a few threads with one job each.

    ingest    source → ring
    journal   ring → disk, acknowledged once written
    chain     ring → steps, by plain calls
    values    what the steps gave → disk
    publisher what is watched → viewers and other programs (publisher.py)

A run ends with its series, with `stop` (Ctrl-C, SIGTERM) or with an error; each time what has arrived is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.errors import StreamfluoError
from ..core.operator import Output
from ..core.source import Gap, Source
from ..core.wire import SOURCE
from ..session.checkpoint import Checkpoint
from ..session.health import Edge, Health
from ..session.reader import open_session
from ..session.recording import Recording
from ..session.values import flatten
from ..session.writer import SessionWriter
from .byte_queue import ByteQueue
from .chain import Chain
from .config import Config, told_spec
from .publisher import Publisher
from .ring_buffer import Ring

RING_BYTES = 512 << 20
RING_BYTES_FILE = 64 << 20  # a file waits; reading far ahead only fills memory
VALUES_BYTES = 64 << 20
IDLE_S = 0.05  # how often snapshots are looked after while no frames come
PRESSED_FRAMES = 64


class Engine:
    """Runs `source` through the config's chain into the session `out` (None: nothing is written).

    `resume` goes on with the session there, from its last checkpoint or from the start of its journal; `max_frames`
    ends the run when the session holds so many. Building it compiles every kernel. Raises ConfigError or SessionError.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        out: Path | None,
        *,
        resume: bool = False,
        max_frames: int | None = None,
        truth: Mapping[str, np.ndarray] | None = None,
        ring_bytes: int | None = None,
        program: str = "run",
    ) -> None:
        spec = source.spec = told_spec(config, source.spec)
        self.source = source
        self.chain = Chain(config, spec)
        self.session = SessionWriter(out, source, self.chain, config, resume) if out else None
        self.error: str | None = None
        self._config, self._truth, self._max_frames = config, truth, max_frames
        self._journal = self.session.journal if self.session else None
        readers = ["chain", *(["journal"] if self._journal else [])]
        ring_bytes = ring_bytes or (RING_BYTES_FILE if source.seekable else RING_BYTES)
        self._ring = Ring(spec, ring_bytes, readers, source.keep_alive)
        self._values: ByteQueue[tuple[str, Output] | Checkpoint] = ByteQueue(VALUES_BYTES)
        self._health = Health(edges={name: Edge() for name in ("ingest", *readers, "values")})
        self._began: float | None = None
        self._ended: float | None = None
        self._closed = False
        self._stopping: str | None = None  # how the run will have ended
        self._next_index = self._resumed_at = 0  # the first index the chain, the journal has not seen
        if resume and self.session:
            self._resume(self.session)
        self._checkpoint_at = time.monotonic() + config.record.checkpoint_s
        self._written = self._resumed_at  # every frame before this index is where it shall stay
        skips = config.record.when_full == "skip"
        self._recording = (
            Recording(self.session, lambda: skips and self._ring.full, self._tell) if self.session else None
        )
        jobs = {"ingest": self._ingest, "chain": self._run_chain, "values": self._write_values}
        if self._journal:
            jobs["journal"] = self._write_journal
        self._threads = [threading.Thread(target=self._guard, args=j, name=j[0], daemon=True) for j in jobs.items()]
        self.publisher: Publisher | None = None
        if config.publish.uri is not None:
            describe = (program, self._journal, self.health, lambda: self.state)
            self.publisher = Publisher(config.publish, self.chain, source, *describe)

    def start(self) -> None:
        """Start the threads."""
        if self.publisher is not None:
            self.publisher.start()
        for thread in self._threads:
            thread.start()

    def stop(self, state: str = "aborted") -> None:
        """Take no more frames; what has arrived is still processed and written. Callable from a signal handler."""
        self._stopping = self._stopping or state
        self.source.interrupt()
        if self._recording is not None:
            self._recording.give_up()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the run and close the session. Returns False if it still goes on after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
        self._close()
        return True

    @property
    def state(self) -> str:
        """running, finished, aborted or failed: why."""
        if self.error:
            return f"failed: {self.error}"
        if any(thread.is_alive() for thread in self._threads):
            return "running"
        return self._stopping or self.source.ended

    def health(self) -> Health:
        """Return the counters as they stand."""
        health = self._health
        health.edges["ingest"].backlog = self._ring.backlog
        health.edges["ingest"].peak_backlog = self._ring.peak_backlog
        health.edges["values"].backlog = self._values.backlog
        health.edges["values"].peak_backlog = self._values.peak_backlog
        health.elapsed_s = ((self._ended or time.monotonic()) - self._began) if self._began else 0.0
        health.steps_ms = {s.id: s.times.summary_ms() for s in self.chain.steps}
        health.muted = {s.id: s.muted for s in self.chain.steps if s.muted}
        health.refused = dict(self.source.refused)
        if self._recording is not None:
            health.stalled, health.unrecorded = dict(self._recording.stalled), self._recording.unrecorded
        return health

    def _guard(self, job: str, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self._fail(f"{job}: {error.strerror or error}; everything written before is readable")
        except StreamfluoError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"{job}: {type(error).__name__}: {error}")
        finally:
            if job in ("chain", "journal"):
                self._ring.drop_reader(job)
            if job == "chain":
                self._ended = time.monotonic()
            if job in ("chain", "values"):  # nobody fills it, or nobody empties it, any more
                self._values.close()

    def _fail(self, error: str) -> None:
        self.error = self.error or error
        self.source.interrupt()
        self._ring.close()

    def _resume(self, session: SessionWriter) -> None:
        """Find out where chain and journal stand, and give the chain its state."""
        if session.checkpoint is not None:
            self.chain.restore(session.checkpoint.steps)
            self._next_index = session.checkpoint.next_index
            self._health.frames = session.checkpoint.frames
        self._resumed_at = session.journal.next_index if session.journal else self._next_index
        if not self.chain.steps:
            self._next_index, self._health.frames = self._resumed_at, session.journal.frames if session.journal else 0

    def _ingest(self) -> None:
        edge = self._health.edges["ingest"]
        try:
            for item in self._items():
                if self._began is None:
                    self._began = time.monotonic()
                if not self._ring.put(item):
                    return
                if isinstance(item, Gap):
                    self._count_gap(item)
                else:
                    _count(edge, item)
                self.source.acknowledge(self._written)
        finally:
            self._ring.close()

    def _items(self) -> Iterator[Block | Gap]:
        """What the source gives until told to stop; of a resumed session first what its chain has not seen."""
        frames = 0
        if self._resumed_at:
            session = open_session(self.session.folder)  # type: ignore[union-attr]
            gaps = [gap for gap in session.gaps if gap.first < self._resumed_at]
            for gap in gaps:
                self._count_gap(gap)
            if self._journal is not None and self._next_index < self._resumed_at:
                yield from session.journal.blocks(self._next_index)
            frames = self._journal.frames if self._journal is not None else self._health.frames
            self.source.resume(self._resumed_at, frames + sum(g.count for g in gaps if g.reason != "camera"))
        for item in self.source.blocks():
            if self._max_frames is not None and isinstance(item, Block):
                item = item.cut(item.index, item.index + self._max_frames - frames)
                frames += len(item)
            if not self._stopping:
                yield item
            if self._max_frames is not None and frames >= self._max_frames:
                self._stopping = self._stopping or "finished"
            if self._stopping:
                return

    def _count_gap(self, gap: Gap) -> None:
        if gap.reason == "camera":
            self._health.lost_camera += gap.count
        else:
            self._health.lost_transport += gap.count

    def _write_journal(self) -> None:
        assert self._recording is not None
        edge = self._health.edges["journal"]
        while items := self._ring.take_all("journal"):
            for item in items:
                if isinstance(item, Gap):
                    self._tell_gap(item)
                    continue
                if item.stop > self._resumed_at:
                    self._recording.frames(item)
                    self._written = item.stop
                _count(edge, item)
            if self.publisher is not None:
                self.publisher.wake()

    def _run_chain(self) -> None:
        idle_s = IDLE_S if self.publisher is not None else None
        while not self._ring.over("chain"):
            item = self._ring.take("chain", wait_s=idle_s)
            if isinstance(item, Gap):
                self.chain.gap(item.first, item.count)
                if self._journal is None:
                    self._tell_gap(item)
            elif item is not None:
                self._push(item)
            if self.publisher is not None:
                self.publisher.put_snapshots(self._next_index - 1, self._pressed)
        self._hand_on(self.chain.finish(), None)

    def _push(self, block: Block) -> None:
        """Run a block through the chain, without what a checkpoint has seen already."""
        if block.stop > self._next_index:
            new = block.cut(max(block.index, self._next_index), block.stop)
            self._hand_on(self.chain.push(new), new)
            self._health.frames += len(new)
            self._next_index = block.stop
        _count(self._health.edges["chain"], block)
        if self._journal is None:
            self._written = block.stop
        if self._recording is not None and self.chain.steps and time.monotonic() >= self._checkpoint_at:
            began = time.monotonic()
            self._put_checkpoint(block.stop)
            took = time.monotonic() - began
            self._checkpoint_at = began + max(self._config.record.checkpoint_s, 50 * took)  # at most 2 % of the time

    @property
    def _pressed(self) -> bool:
        """Whether so many frames wait that looking must cost little."""
        return self._ring.backlog > PRESSED_FRAMES * self.chain.spec.frame_nbytes

    def _put_checkpoint(self, next_index: int) -> None:
        """Queue the chain's state behind the values that came before it."""
        uid, frames = self.source.series.uid, self._health.frames
        checkpoint = Checkpoint(uid, next_index, frames, self.chain.state(), {})
        self._values.put(checkpoint, checkpoint.nbytes)

    def _hand_on(self, outputs: list[tuple[str, Output]], block: Block | None) -> None:
        for step, output in outputs:
            if output.values:
                size = sum(a.nbytes for a in flatten(output.values).values())
                self._values.put((step, output), size)
            if self.publisher is not None:
                self.publisher.put_values(step, output)
                if output.block is not None:
                    self.publisher.put_frames(step, output.block, self._ring.arrived_ns("chain"), self._pressed)
        if self.publisher is not None and block is not None:
            self.publisher.put_frames(SOURCE, block, self._ring.arrived_ns("chain"), self._pressed)
        while self.chain.events:
            self._tell(self.chain.events.pop(0))

    def _tell(self, event: Mapping[str, Any]) -> None:
        """Let session and viewers know what happened."""
        if self.session is not None:
            self.session.event(event)
        if self.publisher is not None:
            self.publisher.event(event)

    def _tell_gap(self, gap: Gap) -> None:
        self._tell({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason})

    def _write_values(self) -> None:
        edge = self._health.edges["values"]
        while (item := self._values.get()) is not None:
            if self._recording is None:
                continue
            if isinstance(item, Checkpoint):
                self._recording.checkpoint(item)
            else:
                self._recording.values(*item)
            edge.blocks += 1

    def _account(self) -> None:
        """Every frame that was ingested must have gone through every edge; anything else is a fault of ours."""
        edges = self._health.edges
        for name in ("chain", "journal"):
            if name in edges and edges[name].frames != edges["ingest"].frames:
                self.error = (
                    f"{name}: {edges[name].frames} of {edges['ingest'].frames} frames arrived; please report this"
                )

    def _close(self) -> None:
        """Close the session and tell who wants to know, once."""
        if self._closed:
            return
        self._closed = True
        if self.error is None:
            self._account()
        if self.session is not None:
            truth = self._truth if self._truth is not None else self.source.truth
            try:
                self.session.close(self.chain, self.health(), truth, self.state)
            except OSError as error:
                self.error = self.error or f"session: {error.strerror or error}"
        if self.error is None:
            self.source.finished()
        if self.publisher is not None:
            self.publisher.stop(self.source.ended if self.error is None else "error")


def _count(edge: Edge, block: Block) -> None:
    edge.frames += len(block)
    edge.bytes += block.pixels.nbytes
    edge.blocks += 1
