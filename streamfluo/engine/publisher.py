"""The publisher: what of a run goes out to viewers and other programs, on two threads of its own.

The chain's thread leaves values here, and of snapshots and frames those that somebody watches; encoding and sending
never hold it up. Values that nobody takes in time fall out of the queue, oldest first: the session has them all, and
those of the last minutes are kept for who comes late. The data endpoint has the other thread: a consumer that makes it
read the journal holds up no preview.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ..core import wire
from ..core.block import Block
from ..core.operator import Gives
from ..core.plane import in_plane
from ..core.results import encode_arrays
from ..core.source import Series
from ..core.step_values import StepValues
from ..core.wire import SOURCE
from ..network.control import ControlServer, Handle
from ..network.facts import report
from ..network.frames import JournalFrames
from ..network.publishing import EVENTS, HEALTH, SERIES, PreviewServer, ResultsServer, as_told, topics_of
from ..network.recorded import Recorded
from ..network.server import GRACE_S, DataServer
from ..network.socket import free_endpoint
from ..session.health import Health, spelled_facts
from ..session.journal import JournalWriter
from ..session.values import Gathered, ValuesWriter, values_message
from .chain import Chain
from .config import PublishConfig
from .due_looks import DueLooks
from .live import live_facts
from .presented import presented
from .recent_values import RecentValues
from .shown_inputs import KIND
from .written_values import WrittenValues

log = logging.getLogger("streamfluo")

GATHER_S = 0.02  # values of consecutive frames travel together, fifty messages a second
HEALTH_S = 1.0
VALUES_BYTES = 64 << 20
LATELY = 5  # events told by status
MAX_EVENTS = 1000  # that wait to be sent
RETRY_S = 0.1  # after an error of the publisher's own


class RunView(NamedTuple):
    """What the publisher knows of a run: the program's name, its chain and series, how it fares, and who does what is
    asked of it."""

    program: str
    chain: Chain
    series: Series
    health: Callable[[], Health]
    state: Callable[[], str]
    ask: Handle
    inputs: Mapping[str, Gives] = {}  # shown beside the steps
    written: Mapping[str, ValuesWriter] = {}  # by step, of what is recorded


class Publisher:
    """Serves the data endpoint at `config.uri`, results and previews beside it.

    The frames of a `journal` are served to consumers. Raises SourceError for an endpoint that cannot be bound.
    """

    def __init__(self, config: PublishConfig, run: RunView, journal: JournalWriter | None) -> None:
        assert config.uri is not None
        chain = run.chain
        self._run = run
        self._frames = JournalFrames(chain.spec, run.series, journal) if journal else None
        self._gives = {s.id: {g.name: g for g in s.operator.gives} for s in chain.steps}
        self._gives |= {step: {gives.name: gives} for step, gives in run.inputs.items()}
        self._facts = {
            s.id: wire.frame_facts(s.operator.out_spec)
            for s in chain.steps
            if any(g.kind == "frames" for g in s.operator.gives)
        }
        self._due = DueLooks(chain.steps, self._gives, config.hz, config.preview_hz)
        self._poll_ms = int(1000 * min(GATHER_S, 0.5 / config.preview_hz))
        self._watched: frozenset[str] = frozenset()  # topics, and steps whose frames are watched
        self._previewed: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._values: dict[str, Gathered] = {}
        self._recent = RecentValues(run.series.uid, self._gives, older=WrittenValues(run.written).before)
        self._newest: dict[tuple[str, str], Any] = {}  # what replaces its predecessor: snapshots, frames
        self._events: deque[wire.Event] = deque(maxlen=MAX_EVENTS)
        self._counted = self._dropped = 0  # events so far; frames whose values nobody took in time
        self._lately: deque[str] = deque(maxlen=LATELY)
        self._worker = ThreadPoolExecutor(1, "snapshots")
        self._asked: deque[tuple[str, int, Future[str]]] = deque()  # previews that the data endpoint was asked for
        self._ending: float | None = None
        self._served = False
        self._server = DataServer(
            self._frames, config.uri, program=run.program, hello=self._hello, status=self._status,
            preview=self._preview, recorded=Recorded(self._frames.look if self._frames else None, self._recent.page),
        )  # fmt: skip
        host = free_endpoint(config.uri)
        largest_nbytes = 8 * chain.spec.shape[0] * chain.spec.shape[1]
        with ExitStack() as undo:
            undo.callback(self._server.close)
            self._control = ControlServer(self._server.context, config.control or host, run.ask)
            undo.callback(self._control.close)
            self._results = ResultsServer(
                self._server.context, config.results or host, topics_of(self._gives), largest_nbytes
            )
            undo.pop_all()
        self._came_in = wire.source_facts(chain.spec)
        shown = [*self._came_in, *(step for step in self._gives if step not in run.inputs)]
        self._previews = PreviewServer(self._server.context, host, run.series.uid, shown)
        self._threads = [
            threading.Thread(target=self._serve, name="data", daemon=True),
            threading.Thread(target=self._publish, name="publisher", daemon=True),
        ]

    @property
    def endpoint(self) -> str:
        """The data endpoint."""
        return self._server.endpoint

    @property
    def refused(self) -> Counter[str]:
        """Messages of who asks that were refused, by rule."""
        servers = (self._server, self._results, self._previews, self._control)
        return sum((server.refused for server in servers), Counter())

    def start(self) -> None:
        """Start serving."""
        self._results.send(SERIES, self._start(), keep=True)
        self._control.start()
        for thread in self._threads:
            thread.start()

    def stop(self, ended: str) -> None:
        """Send what waits, tell that the series is over, serve who still needs frames for up to 30 s, and close."""
        if self._frames is not None:
            self._frames.finish(ended)
        self._worker.shutdown()
        self._ending = time.monotonic()
        for thread in self._threads:
            thread.join()
        self._control.close()
        self._results.close()
        self._previews.close()
        self._server.close()

    # What the chain's thread leaves here

    def put_values(self, values: StepValues) -> None:
        """Take a step's values; if somebody watches them, of those that wait for too long the oldest are dropped."""
        self._recent.put(values)
        if f"values/{values.step}/" in self._watched:
            with self._lock:
                self._values.setdefault(values.step, Gathered()).add(values)
                while sum(g.nbytes for g in self._values.values()) > VALUES_BYTES:
                    self._dropped += max(self._values.values(), key=lambda g: g.nbytes).drop_oldest()

    def put_frames(self, step: str, block: Block, arrived_ns: int, pressed: bool) -> None:
        """Take the newest frame of a step, if somebody watches it and one is due."""
        if step in self._previewed and self._due.of_frames(step, pressed):
            newest = block.cut(block.stop - 1, block.stop)
            with self._lock:
                self._newest["frames", step] = (newest.of(newest.pixels.copy()), arrived_ns)

    def put_snapshots(self, index: int, pressed: bool) -> None:
        """Have the snapshots that are watched and due computed as of now, on the worker's thread."""
        for step, names in self._due.of_snapshots(self._watched, index, pressed):
            began = time.monotonic()
            try:
                reader = self._run.chain.reader(step, names)
                self._due.computing.add(step)
                self._worker.submit(self._compute, step, reader, index)
                self._due.read(step, began)
            except Exception as error:  # reading must not end the run
                self._failed(step, error)

    def event(self, event: Mapping[str, Any]) -> None:
        """Tell what happened; the number n in its fields tells a repeated one."""
        fields = {name: value for name, value in event.items() if name != "event"}
        with self._lock:
            self._counted += 1
            told = ", ".join(f"{k} {v}" for k, v in fields.items() if k != "traceback")
            self._lately.append(f"{_utc()} {event['event']}: {told}"[:500])
            self._events.append(wire.Event(event=event["event"], utc=_utc(), fields={**fields, "n": self._counted}))

    def wake(self) -> None:
        """There are frames to serve."""
        if self._frames is not None and self._frames.waker is not None:
            self._frames.waker.wake()

    def _compute(self, step: str, reader: Callable[[], Mapping[str, np.ndarray]], index: int) -> None:
        began = time.thread_time()
        try:
            self._keep_snapshots(step, reader(), index)
            self._due.took(step, time.thread_time() - began)
        except Exception as error:
            self._failed(step, error)
        finally:
            self._due.computing.discard(step)

    def _keep_snapshots(self, step: str, arrays: Mapping[str, np.ndarray], index: int) -> None:
        self._recent.looks.put(step, index, arrays)
        with self._lock:
            for name, array in arrays.items():
                self._newest[step, name] = (index, np.array(array))

    def _failed(self, step: str, error: Exception) -> None:
        self._due.failed(step)
        self.event({"event": "snapshot failed", "step": step, "error": f"{type(error).__name__}: {error}"})

    # The publisher's thread

    def _publish(self) -> None:
        """Send results and previews until the run is over."""
        poller = self._results.poller()
        reported = 0.0
        while not self._served:
            try:
                poller.poll(self._poll_ms)
                self._open_previews()
                if self._results.turn() | self._previews.turn():
                    self._watched, self._previewed = self._results.watched(), self._previews.watched()
                self._send_what_waits()
                if time.monotonic() - reported >= HEALTH_S:
                    reported = time.monotonic()
                    self._results.send(HEALTH, report(self._status(), {}), keep=True)
            except Exception as error:  # neither a fault of ours nor one message ends what viewers see
                self._stumbled(error)
        try:
            self._send_what_waits()
            self._results.send(HEALTH, report(self._status(), {}), keep=True)
            self._results.send(SERIES, self._end(), keep=True)
        except Exception as error:
            self._stumbled(error)

    def _open_previews(self) -> None:
        while self._asked:
            self._previews.open(*self._asked.popleft())

    def _stumbled(self, error: Exception) -> None:
        log.exception("publisher: %s", error)
        self.event({"event": "publisher failed", "error": f"{type(error).__name__}: {error}"})
        time.sleep(RETRY_S)

    # The data endpoint's thread

    def _serve(self) -> None:
        """Serve frames, hello and status until the run is over and no consumer still needs a frame."""
        poller, pause_s = self._server.poller(), 0.0
        try:
            while not self._over():
                try:
                    poller.poll(int(pause_s * 1000))
                    pause_s = self._server.turn()
                except Exception as error:
                    self._stumbled(error)
        finally:
            self._served = True

    def _over(self) -> bool:
        """Whether the run is over and no consumer still needs its frames."""
        if self._ending is None:
            return False
        return not self._server.pending() or time.monotonic() - self._ending >= GRACE_S

    def _send_what_waits(self) -> None:
        with self._lock:
            values, self._values = self._values, {}
            newest, self._newest = self._newest, {}
            events, self._events = self._events, deque(maxlen=MAX_EVENTS)
        self._recent.settle()
        for event in events:
            self._results.send(EVENTS, event)
        uid = self._run.series.uid
        for step, gathered in values.items():
            while gathered:
                message, parts = values_message(uid, gathered.first(), list(self._gives[step].values()))
                self._results.send(f"values/{step}/", message, parts)
                gathered.drop_first()
        for (step, name), item in newest.items():
            if step == "frames":
                self._previews.send(name, *item)
            else:
                self._send_snapshot(step, name, *item)

    def _send_snapshot(self, step: str, name: str, index: int, array: np.ndarray) -> None:
        headers, parts = encode_arrays({name: array}, [self._gives[step][name]])
        message = wire.Result(
            series_uid=self._run.series.uid, step=step, kind="snapshot", index=index, count=1, arrays=tuple(headers)
        )
        self._results.send(f"snapshot/{step}/{name}/", message, parts, keep=True)

    def _start(self) -> wire.Start:
        series = self._run.series
        start = wire.Start(
            series_uid=series.uid, source=series.source, t0_ns=series.t0_ns, frames=series.frames,
            user=dict(series.user), **self._run.chain.spec.to_header(),
        )  # fmt: skip
        return wire.fitting(start)

    def _end(self) -> wire.End:
        health = self._run.health()
        word = self._run.state().partition(":")[0]
        reason: Any = word if word in ("finished", "aborted") else "error"
        return wire.End(
            series_uid=self._run.series.uid, seq=health.frames, frames=health.frames, reason=reason,
            dropped_camera=health.lost_camera, dropped_transport=health.lost_transport,
        )  # fmt: skip

    def _hello(self) -> dict[str, Any]:
        return {
            "series": msgspec.to_builtins(self._start()),
            "steps": [
                *((s.id, s.operator.kind, s.after) for s in self._run.chain.steps),
                *((step, KIND, in_plane(step.rpartition("/")[0], SOURCE)) for step in self._run.inputs),
            ],
            "gives": {step: [as_told(g) for g in gives.values()] for step, gives in self._gives.items()},
            "frames": {**self._came_in, **self._facts},
            **presented({s.operator.kind: s.operator.presents for s in self._run.chain.steps if s.operator.presents}),
            "live": live_facts(self._run.chain.steps),
            "takes": {
                s.operator.kind: {verb: tuple(of) for verb, of in s.operator.takes.items()}
                for s in self._run.chain.steps
                if s.operator.takes
            },
            "endpoints": {
                "results": self._results.endpoint,
                "preview": self._previews.first,
                "control": self._control.endpoint,
            },
        }

    def _preview(self, step: str, bin_px: int) -> Future[str]:
        """Have the publisher's thread open a preview, whose sockets are its own."""
        answer: Future[str] = Future()
        self._asked.append((step, bin_px, answer))
        return answer

    def _status(self) -> dict[str, Any]:
        counters = {
            **self._run.health().to_dict(),
            "events": self._counted,
            "values_dropped": self._dropped,
            "lately": list(self._lately),
        }
        planes = counters["planes"]  # one line each: maps of 64 would break the limits
        counters["refused"] = dict(Counter(counters["refused"]) + self.refused)
        counters["planes"] = [f"{name}: {', '.join(f'{k} {n}' for k, n in of.items())}" for name, of in planes.items()]
        for name in ("actions", "inputs"):
            counters[name] = [f"{one}: {spelled_facts(facts)}" for one, facts in counters[name].items()]
        uid = self._run.series.uid
        return {"program": self._run.program, "state": self._run.state(), "series_uid": uid, "counters": counters}


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
