"""The engine: one source, one chain, one session, a few threads with one job each.

    ingest    source → ring buffer                                    (ingest.py)
    journal   ring buffer → disk, acknowledged once written           (disk_threads.py)
    chain     ring buffer → steps, by plain calls                     (chain_thread.py)
    values    what the steps gave → disk                              (disk_threads.py)
    publisher, data   what is watched → viewers, frames → consumers   (publisher.py)

`parts.py` is what they share, `accounting.py` counts. A run ends with its series, with `stop` (Ctrl-C, SIGTERM) or with
an error; each time what has arrived is written.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..core.control import Change
from ..core.decision import Decision
from ..core.errors import StateError, StreamfluoError
from ..core.source import Source
from ..session.disk_calls import DiskCalls
from ..session.health import Health, spelled_ms
from ..session.recalled import recall
from ..session.recording import Recording
from ..session.writer import RunFacts, SessionWriter
from .accounting import Accounts
from .acting import Acting
from .asked import Asked
from .byte_queue import ByteQueue
from .chain import Chain
from .chain_thread import run_chain
from .config import Config, with_overrides
from .disk_threads import write_journal, write_values
from .disk_watch import watch_disk
from .ingest import ingest
from .listening import Listening
from .parts import Arriving, Parts, Position, Stopping
from .publisher import Publisher, RunView
from .recorded_changes import plan_recorded
from .recorded_frames import recorded_frames
from .ring_buffer import RingBuffer
from .run_control import RunControl
from .shown_inputs import ShownInputs, unshown

RING_BYTES = 512 << 20
RING_BYTES_FILE = 64 << 20  # a file waits; reading far ahead only fills memory
VALUES_BYTES = 64 << 20
JOIN_S = 0.1


class Engine:
    """Runs `source` through the config's chain into the session `out` (None: nothing is written).

    `resume` goes on with the session there, from its last checkpoint or from the start of its journal; `max_frames`
    ends the run when the session holds so many. `changes` of live parameters are made at their frames (None: those of
    the source, if it was recorded with some); `calls` watches what is asked of the disk. Building it compiles every
    kernel; if that fails, nothing is left behind: no lock, no port, no new folder. Raises ConfigError, SessionError or
    SourceError.
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
        changes: Sequence[Change | Decision] | None = None,
        calls: DiskCalls | None = None,
    ) -> None:
        if resume and out is not None:
            recall(out, source)
        spec = source.spec = with_overrides(config, source.spec)
        self.source, self.chain = source, Chain(config, spec)
        self.error: str | None = None
        self._truth = truth
        self._closed = self._noted = False
        self._noting = threading.Lock()
        with ExitStack() as undo:
            self.session = _opened(source, self.chain, config, out, resume, calls, undo)
            journal = self.session.journal if self.session else None
            readers = ["chain", *(["journal"] if journal else [])]
            ring_bytes = ring_bytes or (RING_BYTES_FILE if source.seekable else RING_BYTES)
            self._parts = parts = Parts(
                source,
                config,
                self.chain,
                RingBuffer(spec, ring_bytes, readers, source.keep_alive, self.chain.follows, self.chain.pin),
                ByteQueue(VALUES_BYTES),
                Accounts(
                    ["ingest", *readers, "values", *(["frames"] if config.record.steps else [])], spec.plane_names
                ),
                Position(spec.plane_names),
                Stopping(),
                Arriving(spec.plane_names),
                Asked(),
                max_frames,
                self.session,
            )
            if resume and self.session:
                _resume(parts, self.session)
            if self.session:
                when_full = config.record.when_full
                parts.recording = Recording(self.session, lambda: parts.ring.full, when_full, parts.tell)
            plan_recorded(parts, source.changes if changes is None else changes, resume)
            self.control = RunControl(parts, self.stop)
            parts.do_asked = self.control.do_asked
            undo.callback(self.control.close)
            if config.publish.uri is not None:
                steps = {s.config.id: (s.operator.kind, s.config.params) for s in self.chain.steps}
                names = [one.name for one in config.inputs]
                parts.shown_inputs = shown = ShownInputs(unshown(names, steps), spec.plane_names, names)
                ask = self.control.ask
                written = self.session.values if self.session else {}
                view = RunView(
                    program, self.chain, source.series, self.health, lambda: self.state, ask, shown.steps, written
                )
                parts.publisher = Publisher(config.publish, view, journal)
            if config.inputs and self.session is not None and not source.seekable:  # what is read again has its own
                parts.listening = Listening(config.inputs, self.session.new_input, parts.tell)
                undo.callback(parts.listening.close)
            if config.actions:
                live = not source.seekable
                parts.acting = Acting(config.actions, self.chain, source.series.uid, self._note_action, live)
            undo.pop_all()
        jobs = {"ingest": ingest, "chain": run_chain, "values": write_values}
        if journal:
            jobs["journal"] = write_journal
        self._threads = [threading.Thread(target=self._guard, args=j, name=j[0], daemon=True) for j in jobs.items()]
        self._ended, self._without_disk = threading.Event(), False

    @property
    def publisher(self) -> Publisher | None:
        """What serves viewers and consumers; None where the config names no endpoint."""
        return self._parts.publisher

    def start(self) -> None:
        """Start the threads."""
        if self.publisher is not None:
            self.publisher.start()
        for thread in self._threads:
            thread.start()
        if self.session is not None:
            watch = threading.Thread(target=watch_disk, args=[self._parts, self._ended, self._give_up], daemon=True)
            watch.name = "disk watch"
            watch.start()

    def stop(self, state: str = "aborted", leave: bool = True) -> None:
        """Take no more frames; what has arrived is still processed and written. Callable from a signal handler.

        Without `leave` who serves the frames is not told goodbye, and waits for us as for one that was cut off. Called
        again, the chain leaves the frames that wait: the journal has them, and `resume` goes on with them.
        """
        stopping = self._parts.stopping
        if stopping.state is not None:
            stopping.abandoned.set()
        stopping.state, stopping.leave = stopping.state or state, leave
        self._parts.arriving.resume()
        self.source.interrupt()
        if self._parts.recording is not None:
            self._parts.recording.give_up()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the run and close the session. Returns False if it still goes on after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            while thread.is_alive():
                if self._without_disk and thread.name in ("journal", "values"):
                    break  # it is in a call that does not come back
                left_s = JOIN_S if deadline is None else min(JOIN_S, deadline - time.monotonic())
                if left_s <= 0:
                    return False
                thread.join(left_s)
        self._close()
        return True

    @property
    def state(self) -> str:
        """running, paused, finished, aborted or failed: why."""
        if self.error:
            return f"failed: {self.error}"
        if any(thread.is_alive() for thread in self._threads):
            return "paused" if self._parts.arriving.paused else "running"
        return self._parts.stopping.state or self.source.ended

    @property
    def stopping(self) -> bool:
        """Whether no more frames are taken."""
        return self._parts.stopping.state is not None

    @property
    def next_index(self) -> int:
        """The frame that comes next from the source."""
        return self._parts.arriving.next_index

    @property
    def refused(self) -> Counter[str]:
        """Messages refused by rule, of the source and of who asked."""
        publisher = self._parts.publisher
        return Counter(self.health().refused) + (publisher.refused if publisher is not None else Counter())

    @property
    def gave_up(self) -> bool:
        """Whether the run ended without its disk, from which a thread may still come back."""
        return self._without_disk

    @property
    def waiting_frames(self) -> int:
        """How many frames wait for the chain."""
        return self._parts.ring.waiting("chain")

    def progress(self) -> dict[str, tuple[int, int]]:
        """Return for each thread behind the ring how much waits for it, and how much it has done so far."""
        parts, edges = self._parts, self._parts.accounts.health.edges
        found = {job: (parts.ring.waiting(job), edges[job].frames) for job in edges if job in ("chain", "journal")}
        return found | {"values": (parts.values.backlog, edges["values"].blocks)}

    def dead_threads(self) -> list[str]:
        """Return the threads that ended while others go on and nothing said that the run is over."""
        over = self.stopping or self.error is not None or not self._threads[0].is_alive()
        return [] if over else [t.name for t in self._threads if t.ident is not None and not t.is_alive()]

    @property
    def found(self) -> str:
        """What its operators have found so far: `20 cells, 998 valid frames`; "" where none counts."""
        return str(self._parts.found)

    def health(self) -> Health:
        """Return the counters as they stand."""
        parts, health = self._parts, self._parts.accounts.health
        parts.accounts.backlog("ingest", parts.ring.backlog, parts.ring.peak_backlog)
        parts.accounts.backlog("values", parts.values.backlog, parts.values.peak_backlog)
        if parts.began_s is not None:
            health.elapsed_s = (parts.chain_ended_s or time.monotonic()) - parts.began_s
        health.next_index = parts.position.next_index
        health.steps_ms = {s.id: s.times.summary_ms() for s in self.chain.steps}
        health.muted = {s.id: s.muted for s in self.chain.steps if s.muted}
        health.doubtful = {s.id: s.doubt for s in self.chain.steps if s.doubt}
        health.refused = dict(self.source.refused)
        if parts.recording is not None:
            health.stalled, health.unrecorded = dict(parts.recording.stalled), parts.recording.unrecorded
        health.blocked = dict(parts.blocked)
        health.latency_ms = parts.latency.summary_ms()
        health.actions = parts.acting.facts() if parts.acting is not None else {}
        health.inputs = parts.listening.facts() if parts.listening is not None else {}
        if self.session is not None:
            health.disk = {call: spelled_ms(times) for call, times in self.session.calls.summary_ms().items()}
        return health

    def _note_action(self, told: Mapping[str, Any]) -> None:
        with self._noting:
            if self.session is not None and not self._noted:
                self.session.acted(told)

    def _guard(self, job: str, work: Callable[[Parts], None]) -> None:
        parts = self._parts
        try:
            work(parts)
        except OSError as error:
            self._fail(f"{job}: {error.strerror or error}; everything written before is readable")
        except StreamfluoError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"{job}: {type(error).__name__}: {error}")
        finally:
            if job in ("chain", "journal"):
                parts.ring.drop_reader(job)
            if job == "chain":
                if parts.acting is not None:
                    parts.acting.end()  # at once: what else of the run must end may take longer
                parts.asked.close()
                parts.chain_ended_s = time.monotonic()
            if job in ("chain", "values"):  # nobody fills it, or nobody empties it, any more
                parts.values.close()

    def _fail(self, error: str) -> None:
        self.error = self.error or error
        self.source.interrupt()
        self._parts.ring.close()

    def _give_up(self, why: str) -> None:
        """End the run without its disk, which does not answer: the session stays as it is, to be resumed."""
        self._without_disk = True
        self._fail(f"{why}; the run ends, what was written before is readable")
        self._parts.values.close()

    def _close(self) -> None:
        """Close the session and tell who wants to know, once."""
        if self._closed:
            return
        self._closed = True
        self._ended.set()
        parts = self._parts
        for outside in (parts.acting, parts.listening):
            if outside is not None:
                outside.close()
        self.control.close()
        if self.error is None:
            edges = [*([] if parts.stopping.abandoned.is_set() else ["chain"]), *(["journal"] * parts.has_journal)]
            self.error = parts.accounts.missing(edges)
        with self._noting:
            self._noted = True  # a device that hangs may come back later
        if self.session is not None and not self._without_disk:
            truth = self._truth if self._truth is not None else self.source.truth
            snapshots = {step.id: self.chain.reader_of_all(step.id) for step in self.chain.steps}
            try:
                self.session.close(snapshots, self.health(), truth, self.state)
            except OSError as error:
                self.error = self.error or f"session: {error.strerror or error}"
        if self.error is None and parts.stopping.leave:
            self.source.finished()
        if self.publisher is not None:
            self.publisher.stop(self.source.ended if self.error is None else "error")


def _opened(
    source: Source,
    chain: Chain,
    config: Config,
    out: Path | None,
    resume: bool,
    calls: DiskCalls | None,
    undo: ExitStack,
) -> SessionWriter | None:
    if out is None:
        return None
    frames = recorded_frames(config, chain.steps)
    given = {s.id: s.operator.gives for s in chain.steps}
    facts = RunFacts(chain.facts(), given, config.where, config.text, frames=frames)
    session = SessionWriter(out, source, facts, raw=config.record.raw, resume=resume, calls=calls)
    undo.callback(session.abandon)
    return session


def _resume(parts: Parts, session: SessionWriter) -> None:
    """Find out where chain and journal stand, and give the chain its state."""
    position, health, journal = parts.position, parts.accounts.health, session.journal
    if session.checkpoint is not None:
        parts.kept = session.checkpoint if parts.chain.on_card else None
        try:
            parts.chain.restore(session.checkpoint.steps)
        except StateError as error:
            raise StateError(f"{session.folder}: {error}; delete its checkpoints to begin anew") from error
        at = session.checkpoint.next_index
        position.reached = {name: session.checkpoint.reached.get(name, at) for name in position.reached}
        health.frames = session.checkpoint.frames
    position.resumed_at = dict(journal.reached if journal else position.reached)
    position.written = dict(position.resumed_at)
    for plane, at in position.resumed_at.items():
        parts.arriving.came(plane, at)
    if not parts.chain.steps:
        position.reached, health.frames = dict(position.resumed_at), journal.frames if journal else 0
