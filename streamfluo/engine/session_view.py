"""A session shown to viewers as its run showed itself at the end: last state of all results, newest frames."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import msgspec
import numpy as np

from ..core import wire
from ..core.block import Block
from ..core.errors import ConfigError, StreamfluoError
from ..core.operator import Presents
from ..core.plane import ONE_PLANE, in_plane
from ..core.registry import operator_of
from ..core.results import encode_arrays
from ..core.step_values import IDS
from ..network.facts import report
from ..network.publishing import EVENTS, HEALTH, SERIES, PreviewServer, ResultsServer, as_told, topics_of
from ..network.recorded import Recorded
from ..network.server import DataServer
from ..network.socket import free_endpoint
from ..session.reader import Session
from .presented import presented
from .recorded_values import RecordedValues
from .shown_inputs import KIND, TEXTS, VALUE, recorded_texts, texts_step, unshown

MAX_FRAMES = 30_000  # of values: as many as a viewer keeps
MAX_VALUES_BYTES = 64 << 20  # of a step
MAX_ROWS = 5000  # of a table
WAIT_MS = 50


class SessionView:
    """Serves a session at `endpoint`, a port of this machine, until it is closed; a context manager, on a thread.

    Values and snapshots are read when somebody watches them. Raises SourceError for an endpoint that cannot be bound.
    """

    def __init__(self, session: Session, uri: str = "tcp://127.0.0.1:0") -> None:
        self._session = session
        self._gives = {
            step: {g.name: g for g in facts.gives if g.kind != "frames"} for step, facts in session.steps.items()
        }
        self._inputs = _inputs_of(session)
        self._texts = recorded_texts(session.recorded_inputs)
        self._gives |= {step: {VALUE.name: VALUE} for step in self._inputs}
        self._texts_step = texts_step(self._gives) if self._texts else ""
        self._gives |= {self._texts_step: {TEXTS.name: TEXTS}} if self._texts else {}
        self._sources = wire.source_facts(session.spec)
        self._shown: set[str] = set()
        self._server = DataServer(
            None, uri, program="session", hello=self._hello, status=self._status,
            preview=self._open_preview, recorded=Recorded(self._look_back, RecordedValues(session, self._gives).page),
        )  # fmt: skip
        host, context = free_endpoint(uri), self._server.context
        height, width = session.spec.shape
        self._results = ResultsServer(context, host, topics_of(self._gives), 8 * height * width)
        self._previews = PreviewServer(context, host, session.series["uid"], self._sources)
        self.endpoint = self._server.endpoint
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._over.set()
        self._thread.join()
        for one in (self._results, self._previews, self._server):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        poller = self._server.poller()
        self._results.send(SERIES, self._start(), keep=True)
        self._results.send(HEALTH, report(self._status(), {}), keep=True)
        for n, event in enumerate(self._session.events):
            fields = {name: value for name, value in event.items() if name not in ("event", "utc", "crc32")}
            told = wire.Event(event=str(event["event"]), utc=str(event.get("utc", "")), fields={**fields, "n": n})
            self._results.send(EVENTS, told)
        while not self._over.is_set():
            poller.poll(WAIT_MS)
            self._server.turn()
            if self._results.turn() | self._previews.turn():
                watched = self._results.watched()
                for topic in sorted(watched - self._shown):
                    self._try(topic)
                self._shown = set(watched)
                for step in self._previews.watched():
                    self._show_newest(step)

    def _try(self, topic: str) -> None:
        """Show what a topic is about; what cannot be read is said, and the rest is shown."""
        try:
            self._show(topic)
        except StreamfluoError as error:
            self._results.send(
                EVENTS, wire.Event(event="not readable", fields={"what": topic, "why": str(error)[:300]})
            )

    def _show(self, topic: str) -> None:
        kind, _, rest = topic.rstrip("/").partition("/")
        if kind == "values":
            for message, parts in self._values(rest):
                self._results.send(topic, message, parts, keep=True)
        elif kind == "snapshot":
            step, _, name = rest.rpartition("/")
            if (array := self._session.snapshot(step).get(name)) is not None:
                headers, parts = encode_arrays({name: array}, [self._gives[step][name]])
                self._results.send(
                    topic,
                    self._result(step, "snapshot", max(0, self._session.frames - 1), 1, headers),
                    parts,
                    keep=True,
                )

    def _values(self, step: str) -> Iterator[tuple[wire.Result, list[Any]]]:
        """The newest values of a step, a message for each run of frames without a hole."""
        values: Mapping[str, Any]
        if step == self._texts_step:
            values, index = {TEXTS.name: {n.partition("/")[2]: a for n, a in self._texts.items()}}, np.empty(0)
        elif (name := self._inputs.get(step)) is not None:
            values = {VALUE.name: self._session.aligned(name)}
            index = self._session.recorded_inputs.index
        else:
            values, index = self._session.values(step), self._session.index(step)
        tables = {name: rows for name, rows in values.items() if isinstance(rows, Mapping)}
        arrays = {name: array for name, array in values.items() if name not in tables}
        for table, columns in tables.items():
            if columns:
                rows = {f"{table}/{name}": np.asarray(column)[-MAX_ROWS:] for name, column in columns.items()}
                headers, parts = encode_arrays(rows, list(self._gives[step].values()))
                yield self._result(step, "values", 0, 0, headers), parts
        of_frames = [array for name, array in arrays.items() if name != IDS]
        row_nbytes = max(1, sum(array[:1].nbytes for array in of_frames))
        count = min(len(index), MAX_FRAMES, MAX_VALUES_BYTES // row_nbytes) if of_frames else 0
        index = index[len(index) - count :]
        for run in np.split(np.arange(count), np.flatnonzero(np.diff(index) != 1) + 1):
            if len(run):
                cut = {n: a if n == IDS else a[len(a) - count :][run[0] : run[-1] + 1] for n, a in arrays.items()}
                headers, parts = encode_arrays(cut, list(self._gives[step].values()))
                yield self._result(step, "values", int(index[run[0]]), len(run), headers), parts

    def _result(self, step: str, kind: str, index: int, count: int, headers: list[wire.ArrayHeader]) -> wire.Result:
        uid = self._session.series["uid"]
        return wire.Result(series_uid=uid, step=step, kind=kind, index=index, count=count, arrays=tuple(headers))  # type: ignore[arg-type]

    def _show_newest(self, step: str) -> None:
        if (newest := self._look_back(step.rpartition("/")[0] or ONE_PLANE, -1)) is not None:
            self._previews.send(step, newest, 0)

    def _look_back(self, plane: str, index: int) -> Block | None:
        """The first frame of a plane from an index on, the last one for −1."""
        with suppress(StreamfluoError):  # no such plane; or the file that it refers to is gone
            session = self._session.plane(plane)
            indices = session.indices()
            at = len(indices) - 1 if index < 0 else int(np.searchsorted(indices, index))
            if 0 <= at < len(indices):
                index, t_ns, pixels = next(session.each_frame(int(indices[at]), int(indices[at]) + 1))
                return Block(index, np.array([t_ns]), pixels[None])
        return None

    def _open_preview(self, step: str, bin_px: int) -> Any:
        return self._previews.open(step, bin_px)

    def _start(self) -> wire.Start:
        series = self._session.series
        start = wire.Start(
            series_uid=series["uid"], source=series["source"], t0_ns=series["t0_ns"], frames=series["frames"],
            user=dict(series["user"]), **self._session.spec.to_header(),
        )  # fmt: skip
        return wire.fitting(start)

    def _hello(self) -> dict[str, Any]:
        return {
            "series": msgspec.to_builtins(self._start()),
            "steps": [
                *((step, facts.kind, facts.after) for step, facts in self._session.steps.items()),
                *((step, KIND, in_plane(step.rpartition("/")[0], wire.SOURCE)) for step in self._beside),
            ],
            "gives": {step: [as_told(g) for g in gives.values()] for step, gives in self._gives.items()},
            "frames": self._sources,
            "endpoints": {"results": self._results.endpoint, "preview": self._previews.first},
            **presented(self._presents(), raw_last=True),
        }

    @property
    def _beside(self) -> list[str]:
        """What is shown beside the steps: inputs of numbers, and the texts of the others."""
        return [*self._inputs, *([self._texts_step] if self._texts_step else [])]

    def _presents(self) -> dict[str, Presents]:
        """How operators lay out their results."""
        found: dict[str, Presents] = {}
        for kind in {facts.kind for facts in self._session.steps.values()}:
            with suppress(ConfigError, ImportError):  # one of a package that is not here
                operator = operator_of(kind)
                if operator is not None and operator.presents is not None:
                    found[kind] = operator.presents
        return found

    def _status(self) -> dict[str, Any]:
        session = self._session
        edges = {edge: {"frames": session.frames} for edge in ("ingest", "chain")}
        said = {name: dict(session.health.get(name, {})) for name in ("doubtful", "muted")}
        counters = {"frames": session.frames, "lost": session.lost, "edges": edges, **said}
        state = session.state.partition(":")[0]
        shown = state if state in ("finished", "aborted") else f"ended: {session.state}"
        return {"program": "session", "state": shown, "series_uid": session.series["uid"], "counters": counters}


def _inputs_of(session: Session) -> dict[str, str]:
    """The inputs of numbers that no step shows, by what they are shown as in each plane."""
    numbers = [name for name, one in session.recorded_inputs.by_name.items() if not one.is_text]
    steps = {step.rpartition("/")[2]: (facts.kind, facts.params) for step, facts in session.steps.items()}
    called = unshown(numbers, steps)
    return {in_plane(plane, step): name for plane in session.spec.plane_names for name, step in called.items()}
