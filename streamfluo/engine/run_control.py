"""What may be asked of a run: done here, or by the chain's thread between two blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..core.control import (
    MAX_SESSIONS,
    Answer,
    Curate,
    Mark,
    Pause,
    Reload,
    Request,
    Resume,
    Sessions,
    Set,
    Snapshot,
    Start,
    Stop,
)
from ..core.decision import Decision
from ..core.errors import ConfigError, SourceError
from .asked import OVER
from .kept_sessions import Kept, kept_sessions, newest_lines
from .live import event_of
from .parts import Parts

NOT_OF_A_RUN = {
    Start: "this run has started; start and stop are for a daemon's source, or ask it to resume",
    Reload: "a run keeps its config for its whole series; reload is for a daemon",
}


class RunControl:
    """Does what is asked of a run; `stop` ends it. Callable from any one thread, and never waits for the chain."""

    def __init__(self, parts: Parts, stop: Callable[[], None]) -> None:
        self._parts, self._stop = parts, stop
        self._worker = ThreadPoolExecutor(1, "asked")
        self._lister = ThreadPoolExecutor(1, "sessions")  # a disk that hangs holds up no mark
        self._closed = False

    def ask(self, request: Request) -> Future[Answer]:
        """Return the answer that is to come. Raises StreamfluoError for what cannot be done."""
        if request.source:
            raise SourceError(f"source {request.source!r}: this is one run; sources are a daemon's")
        if self._closed:
            raise SourceError(OVER)
        if type(request) in NOT_OF_A_RUN:
            raise ConfigError(NOT_OF_A_RUN[type(request)])
        if isinstance(request, Snapshot | Curate):
            return self._parts.asked.put(request, Future())
        answer: Future[Answer] = Future()
        try:
            if isinstance(request, Set):
                self._worker.submit(self._prepare, request, answer)
            else:
                worker = self._lister if isinstance(request, Sessions) else self._worker
                worker.submit(_do, answer, self._do_at_once, request)
        except RuntimeError:  # it was closed just now
            raise SourceError(OVER) from None
        return answer

    def close(self) -> None:
        """Do what was asked by now; before the session is closed."""
        self._closed = True
        self._worker.shutdown()
        self._lister.shutdown(wait=False, cancel_futures=True)
        self._parts.asked.close()

    def do_asked(self) -> None:
        """Do what the chain's thread was asked; between two blocks, on that thread."""
        while (item := self._parts.asked.take()) is not None:
            request, answer = item
            try:
                if isinstance(request, Set):
                    answer.set_result(self._set(request))
                elif isinstance(request, Curate):
                    answer.set_result(self._decide(request))
                elif isinstance(request, Snapshot):
                    self._worker.submit(_do, answer, self._write_snapshots, self._as_of_now(request))
            except Exception as error:  # told to who asked; the run goes on
                answer.set_exception(error)

    # On the worker's thread

    def _prepare(self, request: Set, answer: Future[Answer]) -> None:
        """Compute what a change needs, then leave it for the chain's thread."""
        try:
            self._parts.chain.changes.prepare(request.step, request.param, request.value)
            self._parts.asked.put(request, answer)
        except Exception as error:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)

    def _do_at_once(self, request: Request) -> Answer:
        parts = self._parts
        frame = parts.arriving.next_index
        if isinstance(request, Mark):
            parts.commit([{"event": "mark", "text": request.text, "frame": frame}])
            return Answer(ok=True, frame=frame, said="" if parts.session else "nothing is recorded; viewers see it")
        if isinstance(request, Pause | Resume):
            return self._pause_or_resume(isinstance(request, Pause))
        if isinstance(request, Sessions):
            return Answer(ok=True, sessions=self._sessions())
        assert isinstance(request, Stop)
        self._stop()
        return Answer(ok=True, frame=frame, said="stopping: what has come is processed and written")

    def _sessions(self) -> list[dict[str, Any]]:
        """What is known of the run's session, and of those that lie beside it."""
        if self._parts.session is None:
            return []
        own, health = self._parts.session.folder.absolute(), self._parts.accounts.health
        so_far = {"frames": health.frames, "lost": health.lost}
        beside = kept_sessions([own.parent], 1)
        lines = newest_lines([kept for kept in beside if kept.folder != own], MAX_SESSIONS - 1)
        return [*(line | so_far for line in newest_lines([Kept(own, own.name)], 1)), *lines]

    def _pause_or_resume(self, pauses: bool) -> Answer:
        arriving = self._parts.arriving
        if arriving.paused == pauses:
            said = "it pauses already" if pauses else "it does not pause"
            return Answer(ok=True, frame=arriving.next_index, said=said)
        frame = arriving.pause() if pauses else arriving.resume()
        self._parts.tell({"event": "paused" if pauses else "resumed", "frame": frame})
        return Answer(ok=True, frame=frame, said="the source waits" if pauses and self._parts.source.seekable else "")

    def _write_snapshots(self, taken: list[_Taken]) -> Answer:
        session, files = self._parts.session, list[str]()
        assert session is not None
        for step, frame, read in taken:
            paths = session.save_snapshots(step, frame, read())
            written = [path.relative_to(session.folder).as_posix() for path in paths]
            self._parts.tell({"event": "snapshot", "step": step, "frame": frame, "files": written})
            files += written
        return Answer(ok=True, frame=max(one.frame for one in taken), said=", ".join(files))

    # On the chain's thread

    def _set(self, request: Set) -> Answer:
        """Change a parameter: it is on the disk before the chain goes on."""
        parts = self._parts
        reached = parts.position.reached
        planned, make = parts.chain.changes.plan(request.step, request.param, request.value, reached)
        parts.commit([event_of(change) for change in planned])
        make()
        parts.chain.change_now(reached)
        each = ", ".join(f"{change.step} from frame {change.frame} on" for change in planned)
        return Answer(ok=True, frame=max(change.frame for change in planned), said=each if len(planned) > 1 else "")

    def _decide(self, request: Curate) -> Answer:
        """Carry out a decision: it is on the disk before the chain goes on."""
        parts = self._parts
        reached = parts.position.reached
        asked = Decision(
            0, request.step, request.decision, tuple(request.ids), request.author, request.note, 0, request.undo_of,
            tuple(map(tuple, request.polygons)),
        )  # fmt: skip
        decided, make = parts.chain.changes.plan_decision(asked, reached)
        parts.commit([event_of(decided.decision)])
        make()
        parts.chain.change_now(reached)
        return Answer(ok=True, frame=decided.decision.frame, said=decided.said, number=decided.decision.number)

    def _as_of_now(self, request: Snapshot) -> list[_Taken]:
        """What reads the snapshots as of now, of each step that is meant. Raises ConfigError."""
        parts = self._parts
        if parts.session is None:
            raise ConfigError("nothing is recorded, so there is no session for a snapshot; give --out")
        names = [request.name] if request.name else None
        taken = []
        for step in parts.chain.changes.steps(request.step):
            if not step.operator.snapshot_names(names):
                raise ConfigError(f"step {step.id!r} gives no snapshots")
            taken.append(_Taken(step.id, parts.position.reached[step.plane], parts.chain.reader(step.id, names)))
        return taken


class _Taken(NamedTuple):
    """Snapshots of a step as of before a frame, once they are read."""

    step: str
    frame: int
    read: Callable[[], Mapping[str, np.ndarray]]


def done(answer: Answer) -> Future[Answer]:
    """Return an answer that is there already."""
    future: Future[Answer] = Future()
    future.set_result(answer)
    return future


def _do(answer: Future[Answer], work: Callable[[Any], Answer], what: Any) -> None:
    """Do it, if it is still wanted, and say what became of it."""
    if not answer.running() and not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(work(what))
    except Exception as error:
        answer.set_exception(error)
