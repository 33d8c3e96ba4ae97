"""Kernels compiled before they are needed, on all cores, into the cache that later processes load them from."""

from __future__ import annotations

import atexit
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from typing import Any

from ..core.errors import StreamfluoError
from ..core.registry import find_operator
from .compile_tasks import Job, Task, Tasks, Told
from .loading import built_params, create

NICE = 5  # of processes that compile beside the frames: those come first

Tell = Callable[[Told], None]
Watch = Callable[[Callable[[str], None]], AbstractContextManager[None]]  # calls with the name of each kernel compiled


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compile_kernels(
    jobs: Sequence[Job], processes: int | None = None, watch: Watch | None = None, tell: Tell | None = None
) -> list[str]:
    """Build operators in parallel processes, so that numba's cache holds what they compile: `Compiling`, to its end.

    Returns the kinds that were not built, as a process was killed. Raises what building one raises.
    """
    return Compiling(jobs, processes, watch, tell).wait()


class Compiling:
    """Operators that are built in parallel processes (None: one a core), so that numba's cache holds their kernels.

    Those of a kind share kernels and are built one after the other in one process, once what the kind `compiles` in
    parts has been, each part anywhere. What the first frame waits for comes first, and of that what takes longest: with
    spots at the end one core waited a minute for the other. Safe beside programs that compile the same
    (pixels/kernels/kernel.py). `watch` calls back with the name of each kernel that a process compiles, `tell` hears of
    it, on a thread of its own. `others`: frames of other sources come meanwhile, and go before all of it.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        processes: int | None = None,
        watch: Watch | None = None,
        tell: Tell | None = None,
        others: bool = False,
    ) -> None:
        self._tasks, self._tell, self._error = Tasks(jobs), tell, None  # type: Tasks, Tell | None, Exception | None
        self._at_once, self._over, self._gave_up = threading.Event(), threading.Event(), False
        self._stopped, self._stop = multiprocessing.Pipe(duplex=False)
        workers = [_Worker(watch, others) for _ in range(min(processes or cores(), len(self._tasks.waiting)))]
        atexit.register(self.give_up)
        threading.Thread(target=self._run, args=[workers], name="compiling", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether all is built that is going to be."""
        return self._over.is_set()

    def wait_for_first_frame(self) -> None:
        """Return once all is built that the first frame waits for. Raises what building raises."""
        self._wait(self._at_once)

    def wait(self) -> list[str]:
        """Return once all is built: the kinds that were not, as a process was killed. Raises what building raises, and
        StreamfluoError where it was given up."""
        self._wait(self._over)
        return sorted(self._tasks.unbuilt)

    def give_up(self) -> None:
        """End the processes, whatever they are at."""
        self._gave_up = True
        with suppress(OSError):  # they have ended
            self._stop.send(None)
        self._over.wait()

    def _wait(self, event: threading.Event) -> None:
        try:
            event.wait()
        except KeyboardInterrupt:
            self.give_up()
            raise
        if self._error is not None:
            raise self._error
        if self._gave_up:
            raise StreamfluoError("the program ends: its kernels are not compiled")

    def _run(self, workers: Sequence[_Worker]) -> None:
        try:
            self._serve(workers)
        finally:
            for worker in workers:
                worker.end()
            self._stop.close()
            self._at_once.set()
            self._over.set()
            atexit.unregister(self.give_up)

    def _serve(self, workers: Sequence[_Worker]) -> None:
        """Give the processes what there is to do, and hear what they say, until it is done."""
        tasks = self._tasks
        while True:
            for worker in workers:
                if worker.task is None and worker.lives and (task := tasks.next()):
                    worker.give(task)
            if not (busy := {worker.pipe: worker for worker in workers if worker.task}):
                return
            for pipe in wait([self._stopped, *busy]):
                if pipe is self._stopped:
                    return
                worker = busy[pipe]  # type: ignore[index]
                task, told = worker.task, worker.told()
                assert task is not None
                self._error = self._error or told.error
                if tasks.hear(task, told) and self._tell is not None:
                    self._tell(told)
            if not tasks.at_once:
                self._at_once.set()


class _Worker:
    """A process that does one task after the other; `task` is what it is at, None when it waits or has been killed."""

    def __init__(self, watch: Watch | None, others: bool) -> None:
        self.task: Task | None = None
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_build_each, args=(theirs, watch, others), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def lives(self) -> bool:
        """Whether it can be given something to do."""
        return self._process.is_alive()

    def give(self, task: Task) -> None:
        """Have it do a task."""
        self.task = task
        with suppress(OSError):  # it was killed
            self.pipe.send(task)

    def told(self) -> Told:
        """Return what it says next, or that it was killed, as for want of memory; what it logs is logged here."""
        assert self.task is not None
        try:
            while isinstance(said := self.pipe.recv(), logging.LogRecord):
                logging.getLogger(said.name).handle(said)
        except (EOFError, OSError):
            self._process.join()
            said = Told(self.task.kind, "stopped", f"its process was ended (exit code {self._process.exitcode})")
        told: Told = said
        if told.what != "compiles":
            self.task = None
        return told

    def end(self) -> None:
        """End it, whatever it is at."""
        if self.task is not None:
            self._process.kill()
        with suppress(OSError):  # it was killed
            self.pipe.send(None)
        self._process.join()
        self.pipe.close()


class _Said:
    """What logging takes for a queue."""

    def __init__(self, pipe: Connection) -> None:
        self.put_nowait = pipe.send


def _build_each(pipe: Connection, watch: Watch | None, others: bool) -> None:
    """Build what comes through the pipe, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits; it ends this one
    logging.getLogger().addHandler(QueueHandler(_Said(pipe)))  # type: ignore[arg-type]
    gc.set_threshold(100_000, 50, 100)  # a compiler's objects live on: looking for garbage took a tenth of the time
    with suppress(EOFError, OSError):  # the process that waits has been killed
        while (task := pipe.recv()) is not None:
            if (task.later or others) and hasattr(os, "nice"):
                os.nice(max(0, NICE - os.nice(0)))
            pipe.send(_done(task, pipe, watch))


def _done(task: Task, pipe: Connection, watch: Watch | None) -> Told:
    """Build the operators of a kind, or compile a part of what the first needs; return how that ended."""
    kind, operator, first = task.kind, find_operator(task.kind), task.jobs[0]
    try:
        with watch(partial(_tell_kernel, pipe, kind)) if watch is not None else nullcontext():
            if task.part >= 0:
                parts: Sequence[Callable[..., Any]] = (*operator.compiles, *operator.compiles_later)
                parts[task.part](built_params(operator, first.params, first.spec), first.spec)
            else:
                for job in task.jobs:
                    create(kind, job.spec, **job.params)
    except Exception as error:
        return Told(kind, "stopped", str(error), error)
    return Told(kind, "built")


def _tell_kernel(pipe: Connection, kind: str, name: str) -> None:
    pipe.send(Told(kind, "compiles", name))
