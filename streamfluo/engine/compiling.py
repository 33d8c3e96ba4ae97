"""Kernels compiled before they are needed, on all cores, into the cache that later processes load them from."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import StreamfluoError
from ..core.operator import Operator
from ..core.registry import find_operator
from ..core.spec import Spec
from ..core.wire import SOURCE
from .config import Config
from .loading import built_params, create

KERNEL = re.compile(r"^@kernel(?!.*inline=.always)", re.MULTILINE)  # an inlined one is compiled with its callers


class Job(NamedTuple):
    """An operator to build: its kind, the frames it is for, its parameters."""

    kind: str
    spec: Spec
    params: Mapping[str, Any]


class Told(NamedTuple):
    """What a process says: it `compiles` a kernel of a kind's, it `built` the kind, or it `stopped`.

    `name` is the kernel's, or why it stopped; `error` what building it raised.
    """

    kind: str
    what: str
    name: str = ""
    error: Exception | None = None


Tell = Callable[[Told], None]
Watch = Callable[[Callable[[str], None]], AbstractContextManager[None]]  # calls with the name of each kernel compiled


def jobs_of(config: Config, spec: Spec) -> list[Job]:
    """Return what a config builds on processors, as far as can be told before anything is built.

    A step behind one that hands on frames of its own sees them as float32: so it is with all of ours, and where it is
    wrong the step compiles its kernels itself.
    """
    changed = {SOURCE: False}
    jobs = []
    for step in config.steps:
        try:
            operator = find_operator(step.kind)
        except StreamfluoError:
            return []  # who builds the chain says so
        seen = changed[step.after]
        changed[step.id] = seen or operator.out_spec is not Operator.out_spec
        if step.device == "cpu":
            of = spec.plane(spec.plane_names[0])
            jobs.append(Job(step.kind, of.with_(dtype="float32") if seen else of, step.params))
    return jobs


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kernels_of(kind: str) -> int:
    """Return how many kernels the room of an operator has: roughly so many are compiled for it."""
    return sum(len(KERNEL.findall(file.read_text(encoding="utf-8"))) for file in _kernel_files(kind))


def compile_kernels(
    jobs: Sequence[Job], processes: int | None = None, watch: Watch | None = None, tell: Tell | None = None
) -> list[str]:
    """Build operators in parallel processes (None: one a core), so that numba's cache holds what they compile.

    Those of a kind share kernels and are built one after the other in one process, once what the kind `compiles` in
    parts has been, each part anywhere. What takes longest comes first: with spots at the end one core waited a minute
    for the other. Safe beside programs that compile the same (pixels/kernels/kernel.py). `watch` calls back with the
    name of each kernel that a process compiles, `tell` hears of it. Returns the kinds that were not built, as a process
    was killed. Raises what building one raises.
    """
    tasks = _Tasks(jobs)
    error = None
    workers = [_Worker(watch) for _ in range(min(processes or cores(), len(tasks.waiting)))]
    try:
        while True:
            for worker in workers:
                if not worker.kind and worker.lives and (task := tasks.next()):
                    worker.give(task)
            if not (busy := {worker.pipe: worker for worker in workers if worker.kind}):
                break
            for pipe in wait(list(busy)):
                told = busy[pipe].told()  # type: ignore[index]
                error = error or told.error
                if tasks.hear(told) and tell is not None:
                    tell(told)
    finally:
        for worker in workers:
            worker.end()
    if error is not None:
        raise error
    return sorted(tasks.unbuilt)


class _Task(NamedTuple):
    """Operators of a kind to build, or (not −1) the number of a part of what the first of them compiles."""

    jobs: Sequence[Job]
    part: int = -1

    @property
    def kind(self) -> str:
        return self.jobs[0].kind


class _Tasks:
    """What is to be built, what takes longest first; `unbuilt` are the kinds of which something is left or failed."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        kinds: dict[str, list[Job]] = {}
        for job in jobs:
            kinds.setdefault(job.kind, []).append(job)
        parts = {kind: len(find_operator(kind).compiles) for kind in kinds}
        weighed = [
            (_weight(of_kind) / parts[kind], _Task(of_kind, part))
            for kind, of_kind in kinds.items()
            for part in range(parts[kind])
        ]
        weighed += [
            (0.0 if parts[kind] else _weight(of_kind), _Task(of_kind))
            for kind, of_kind in kinds.items()
            if not parts[kind] or len(of_kind) > 1
        ]
        self.waiting = [task for _, task in sorted(weighed, key=itemgetter(0), reverse=True)]
        self.unbuilt = set(kinds)
        self._left = Counter(task.kind for task in self.waiting)
        self._failed = set[str]()

    def next(self) -> _Task | None:
        """Return what can begin now: operators of a kind once its parts are compiled."""
        for n, task in enumerate(self.waiting):
            if task.part >= 0 or self._left[task.kind] == 1:
                return self.waiting.pop(n)
        return None

    def hear(self, told: Told) -> bool:
        """Take in what a process says; return whether it is news of a kind, not of one of its parts."""
        if told.what == "compiles":
            return True
        self._left[told.kind] -= 1
        if told.what == "stopped":
            self._failed.add(told.kind)
            return True
        if not self._left[told.kind] and told.kind not in self._failed:
            self.unbuilt.discard(told.kind)
        return told.kind not in self.unbuilt


class _Worker:
    """A process that does one task after the other; `kind` is what it is at, "" when it waits or has been killed."""

    def __init__(self, watch: Watch | None) -> None:
        self.kind = ""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_build_each, args=(theirs, watch), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def lives(self) -> bool:
        """Whether it can be given something to do."""
        return self._process.is_alive()

    def give(self, task: _Task) -> None:
        """Have it do a task."""
        self.kind = task.kind
        with suppress(OSError):  # it was killed
            self.pipe.send(task)

    def told(self) -> Told:
        """Return what it says next, or that it was killed, as for want of memory; what it logs is logged here."""
        kind = self.kind
        try:
            while isinstance(said := self.pipe.recv(), logging.LogRecord):
                logging.getLogger(said.name).handle(said)
        except (EOFError, OSError):
            self._process.join()
            said = Told(kind, "stopped", f"its process was ended (exit code {self._process.exitcode})")
        told: Told = said
        if told.what != "compiles":
            self.kind = ""
        return told

    def end(self) -> None:
        """End it, whatever it is at."""
        if self.kind:
            self._process.kill()
        with suppress(OSError):  # it was killed
            self.pipe.send(None)
        self._process.join()
        self.pipe.close()


class _Said:
    """What logging takes for a queue."""

    def __init__(self, pipe: Connection) -> None:
        self.put_nowait = pipe.send


def _build_each(pipe: Connection, watch: Watch | None) -> None:
    """Build what comes through the pipe, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits; it ends this one
    logging.getLogger().addHandler(QueueHandler(_Said(pipe)))  # type: ignore[arg-type]
    gc.set_threshold(100_000, 50, 100)  # a compiler's objects live on: looking for garbage took a tenth of the time
    with suppress(EOFError, OSError):  # the process that waits has been killed
        while (task := pipe.recv()) is not None:
            pipe.send(_done(task, pipe, watch))


def _done(task: _Task, pipe: Connection, watch: Watch | None) -> Told:
    """Build the operators of a kind, or compile a part of what the first needs; return how that ended."""
    kind, operator, first = task.kind, find_operator(task.kind), task.jobs[0]
    try:
        with watch(partial(_tell_kernel, pipe, kind)) if watch is not None else nullcontext():
            if task.part >= 0:
                operator.compiles[task.part](built_params(operator, first.params, first.spec), first.spec)
            else:
                for job in task.jobs:
                    create(kind, job.spec, **job.params)
    except Exception as error:
        return Told(kind, "stopped", str(error), error)
    return Told(kind, "built")


def _tell_kernel(pipe: Connection, kind: str, name: str) -> None:
    pipe.send(Told(kind, "compiles", name))


def _weight(jobs: Sequence[Job]) -> float:
    """How long jobs of a kind take, roughly: the code of the kernels in their room, times the root of their number.

    The first job compiles most of it. By the code alone one core would end 12 s before the other, of 73 s each.
    """
    return sum(file.stat().st_size for file in _kernel_files(jobs[0].kind)) * math.sqrt(len(jobs))


def _kernel_files(kind: str) -> Iterable[Path]:
    room = ".".join(find_operator(kind).__module__.split(".")[:2])
    return Path(str(sys.modules[room].__file__)).parent.glob("kernels/*.py")
