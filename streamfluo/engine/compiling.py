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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import StreamfluoError
from ..core.operator import Operator
from ..core.registry import find_operator
from ..core.spec import Spec
from ..core.wire import SOURCE
from .config import Config
from .loading import create

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

    Those of a kind share kernels and are built one after the other in one process, those of most code and jobs first:
    with spots at the end one core waits a minute for the other. Safe beside programs that compile the same
    (pixels/kernels/kernel.py). `watch` calls back with the name of each kernel that a process compiles, `tell` hears of
    it. Returns the kinds that were not built, as a process was killed. Raises what building one raises.
    """
    kinds: dict[str, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.kind, []).append(job)
    waiting = iter(sorted(kinds.values(), key=_weight, reverse=True))
    unbuilt, error = set(kinds), None
    workers = [_Worker(watch) for _ in range(min(processes or cores(), len(kinds)))]
    try:
        for worker in workers:
            worker.give(next(waiting, None))
        while busy := {worker.pipe: worker for worker in workers if worker.kind}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                told = worker.told()
                if told.what == "built":
                    unbuilt.discard(told.kind)
                if told.what in ("built", "stopped"):
                    worker.give(next(waiting, None))
                error = error or told.error
                if tell is not None:
                    tell(told)
    finally:
        for worker in workers:
            worker.end()
    if error is not None:
        raise error
    return sorted(unbuilt)


class _Worker:
    """A process that builds kinds one after the other; `kind` is what it is at, "" when it has ended or been killed."""

    def __init__(self, watch: Watch | None) -> None:
        self.kind = ""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_build_each, args=(theirs, watch), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, jobs: list[Job] | None) -> None:
        """Have it build a kind; None: it ends."""
        self.kind = jobs[0].kind if jobs and self._process.is_alive() else ""
        with suppress(OSError):  # it was killed
            self.pipe.send(jobs)

    def told(self) -> Told:
        """Return what it says next, or that it was killed, as for want of memory; what it logs is logged here."""
        try:
            while isinstance(said := self.pipe.recv(), logging.LogRecord):
                logging.getLogger(said.name).handle(said)
        except (EOFError, OSError):
            self._process.join()
            reason = f"its process was ended (exit code {self._process.exitcode})"
            return Told(self.kind, "stopped", reason)
        told: Told = said
        return told

    def end(self) -> None:
        """End it, whatever it is at."""
        if self.kind:
            self._process.kill()
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
        while (jobs := pipe.recv()) is not None:
            pipe.send(_built(jobs, pipe, watch))


def _built(jobs: Sequence[Job], pipe: Connection, watch: Watch | None) -> Told:
    """Build the operators of a kind; return how that ended."""
    kind = jobs[0].kind
    try:
        with watch(partial(_tell_kernel, pipe, kind)) if watch is not None else nullcontext():
            for job in jobs:
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
