"""A pool of threads: kernels over bands of a large frame, and steps that do not wait for each other, at the same time.

Each element of a result is computed by the same operations whatever the number of threads; sums keep an order of their
own. Who shares work out takes part in it and waits for nothing but what another thread has begun: a pool that is busy,
or whose threads never come, costs time and nothing else. Threads are made when there is work to share, stay until the
process ends, and are never those of a process that this one was forked from.
"""

from __future__ import annotations

import atexit
import heapq
import os
import threading
from collections.abc import Callable, Collection, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import TypeVar

T = TypeVar("T")
# What is shared out must take this long on one core. To wake a thread and to wait for it takes 30 to 115 µs here, and
# a thread that loses its core amid a band some ms: kernels on one frame of 512 × 512 (.52 ms and less) are left alone.
LEAST_NS = 600_000.0
BANDS_A_THREAD = 2  # a thread that comes late leaves its second band to the others
END_S = 10.0  # for threads to end with the process: one that is ended amid compiled code may take it with it


class _Sleeper:
    """A thread that waits for work, or for the end of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.asleep = False

    def wake(self) -> None:
        """Called with the pool's lock held."""
        if self.asleep:
            self.asleep = False
            self._lock.release()

    def sleep(self) -> None:
        self._lock.acquire()


class _Job:
    """Things to do by number: `needs` has for each those that must be done before. A `short` one is done by whoever
    waits for something else, too."""

    def __init__(self, do: Callable[[int], object], needs: Sequence[Collection[int]], short: bool) -> None:
        self._do, self.short, self.context = do, short, copy_context()
        self._missing = [len(set(needed)) for needed in needs]
        self._behind: list[list[int]] = [[] for _ in needs]
        for n, needed in enumerate(needs):
            for before in set(needed):
                self._behind[before].append(n)
        self.ready = [n for n, missing in enumerate(self._missing) if not missing]  # a heap: the first ones first
        self.left, self.running = len(needs), 0
        self.errors: dict[int, BaseException] = {}
        self.owner = _Sleeper()

    def run(self, n: int, context: Context | None) -> None:
        """Do one thing, on a thread of the pool in the context of who shared it out."""
        try:
            if context is None:
                self._do(n)
            else:
                context.run(self._do, n)
        except BaseException as error:
            self.errors[n] = error

    def done(self, n: int) -> None:
        """Called with the pool's lock held. After a fault nothing more is begun."""
        self.running -= 1
        self.left -= 1
        for behind in self._behind[n]:
            self._missing[behind] -= 1
            if not self._missing[behind]:
                heapq.heappush(self.ready, behind)
        if self.errors:
            self.ready.clear()

    @property
    def over(self) -> bool:
        return not (self.ready or self.running)


class ThreadPool:
    """Does work on up to `threads` threads, the one that brings it included."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._begin()

    def _begin(self) -> None:
        """Have no threads yet; again in a process that was forked."""
        self._lock = threading.Lock()
        self._jobs: list[_Job] = []
        self._idle: list[_Sleeper] = []
        self._made: list[threading.Thread] = []
        self._ends = False

    def in_order(self, needs: Sequence[Collection[int]], do: Callable[[int], object]) -> None:
        """Do each thing once those it `needs` are done, the first ones first. Raises the first one's fault."""
        self._share(_Job(do, needs, short=False))

    def all_of(self, count: int, do: Callable[[int], object]) -> None:
        """Do `count` short things of one kind. Raises the first one's fault."""
        self._share(_Job(do, [()] * count, short=True))

    def _share(self, job: _Job) -> None:
        with self._lock:
            self._jobs.append(job)
            self._wake(len(job.ready) - 1)
        try:
            self._take_part(job)
        finally:
            with self._lock:
                self._jobs.remove(job)
        if job.errors:
            raise job.errors[min(job.errors)]

    def _take_part(self, own: _Job) -> None:
        """Work until a job of this thread's is over."""
        while True:
            with self._lock:
                if own.over:
                    return
                if (found := self._next(own)) is None:
                    self._lie_down(own.owner, to_others=not own.short)
            if found is None:
                own.owner.sleep()
                continue
            job, n = found
            job.run(n, None if job is own else job.context.copy())
            self._end(job, n)

    def _next(self, own: _Job | None) -> tuple[_Job, int] | None:
        """What to begin with next: of bands that wait, of steps; for who waits for steps of its own, those or bands.
        Who waits for bands of its own begins with nothing else: its step could not go on."""
        if own is not None and (own.ready or own.short):
            jobs = [own]
        else:
            jobs = [job for job in reversed(self._jobs) if job.short or own is None]
        for job in jobs:
            if job.ready:
                job.running += 1
                return job, heapq.heappop(job.ready)
        return None

    def _end(self, job: _Job, n: int) -> None:
        with self._lock:
            job.done(n)
            if job.over:
                job.owner.wake()
            self._wake(len(job.ready) - 1)

    def _lie_down(self, sleeper: _Sleeper, to_others: bool) -> None:
        sleeper.asleep = True
        if to_others and sleeper not in self._idle:
            self._idle.append(sleeper)

    def _wake(self, count: int) -> None:
        """Wake so many threads, and make those that are missing; called with the lock held."""
        while count > 0 and self._idle:
            sleeper = self._idle.pop()
            count -= sleeper.asleep
            sleeper.wake()
        while count > 0 and len(self._made) < self.threads - 1 and not self._ends:
            count -= 1
            name = f"cores {len(self._made) + 1}"
            self._made.append(threading.Thread(target=self._work, args=(_Sleeper(),), name=name, daemon=True))
            self._made[-1].start()

    def _work(self, sleeper: _Sleeper) -> None:
        while True:
            with self._lock:
                if self._ends:
                    return
                if (found := self._next(None)) is None:
                    self._lie_down(sleeper, to_others=True)
            if found is None:
                sleeper.sleep()
                continue
            job, n = found
            job.run(n, job.context.copy())
            self._end(job, n)

    def end(self) -> None:
        """End the threads; what is shared out from now on is done by who brings it."""
        with self._lock:
            self._ends = True
            self._wake(len(self._idle))
            made, self._made = self._made, []
        for thread in made:
            thread.join(END_S)


_pools: dict[int, ThreadPool] = {}
_lock = threading.Lock()


def pool_of(threads: int) -> ThreadPool:
    """Return the process's pool of so many threads."""
    with _lock:
        return _pools.setdefault(threads, ThreadPool(threads))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@atexit.register
def _end_all() -> None:
    for pool in _pools.values():
        pool.end()


def _forget_threads() -> None:
    """A forked process has none of them, and locks as they were held."""
    global _lock
    _lock = threading.Lock()
    for pool in _pools.values():
        pool._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

_present: ContextVar[ThreadPool | None] = ContextVar("pool", default=None)


class using:
    """Have kernels that are called here use a pool; None: the calling thread alone."""

    __slots__ = ("_pool", "_token")

    def __init__(self, pool: ThreadPool | None) -> None:
        self._pool = pool

    def __enter__(self) -> None:
        self._token = _present.set(self._pool)

    def __exit__(self, *fault: object) -> None:
        _present.reset(self._token)


def present_pool() -> ThreadPool | None:
    """Return the pool that kernels use here."""
    return _present.get()


def shared(work_ns: float) -> bool:
    """Return whether `in_bands` has several threads take what takes `work_ns` on one core."""
    return _present.get() is not None and work_ns >= LEAST_NS


def in_bands(count: int, work_ns: float, do: Callable[[int, int], T]) -> list[T]:
    """Have `do(first, stop)` take `count` rows, blocks, tiles or cells in bands; return what each band gives, in order.

    Bands are taken at the same time by the threads of the pool where all of it takes `work_ns` ≥ LEAST_NS on one core;
    else there is one band. `do` must write to its own band alone, each element by the same operations in any band.
    """
    pool = _present.get()
    bands = 1 if pool is None or work_ns < LEAST_NS else min(BANDS_A_THREAD * pool.threads, count)
    if pool is None or bands < 2:
        return [do(0, count)]
    edges = [n * count // bands for n in range(bands + 1)]
    given: dict[int, T] = {}

    def one(n: int) -> None:
        given[n] = do(edges[n], edges[n + 1])

    pool.all_of(bands, one)
    return [given[n] for n in range(bands)]
