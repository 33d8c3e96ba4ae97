"""What a first run waits for: kernels compiled on all cores, with what is being compiled and how long it will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from ..core.later import PutOff, ended, putting_off
from ..core.spec import Spec
from ..engine.compile_tasks import Job, Told, jobs_of, kernels_of, needed_at_once, parts_of
from ..engine.compiling import Compiling, cores
from ..engine.config import Config, with_overrides
from .console import console

log = logging.getLogger("streamfluo")
KERNEL_S, BELIEVED = 0.45, 20  # seconds of a core for a kernel, until so many have been timed here
AGAIN_S = 0.05


class Voice(NamedTuple):
    """How it is said: `say` a line that stays, `show` one in place of the one before."""

    say: Callable[[str], None]
    show: Callable[[str], None] = lambda _: None


ALOUD = Voice(partial(console.print, soft_wrap=True))


@dataclass
class Course:
    """How far the compiling of some kinds of operators is, and how long it will take; that of `later` ones not yet."""

    expected: dict[str, int]
    cores: int
    parts: dict[str, int] = field(default_factory=dict)  # of a kind, that can be compiled beside each other
    done: dict[str, int] = field(default_factory=dict)
    built: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    now: dict[str, str] = field(default_factory=dict)
    later: dict[str, int] = field(default_factory=dict)
    voice: Voice = ALOUD
    began_s: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, jobs: Sequence[Job], voice: Voice, first_frame: bool = False) -> Course:
        """Return the course of building these, none of it done yet; of what the first frame waits for alone."""
        kinds = {job.kind: kernels_of(job.kind) for job in jobs}
        later = {kind: n for kind, n in kinds.items() if first_frame and not needed_at_once(kind)}
        at_once = {kind: n for kind, n in kinds.items() if kind not in later}
        return cls(at_once, cores(), {kind: parts_of(kind) for kind in kinds}, later=later, voice=voice)

    def all_of_it(self) -> None:
        """From now on also say how far those are that the first frame did not wait for."""
        self.expected, self.later = {**self.expected, **self.later}, {}

    def hear(self, told: Told) -> None:
        """Take in what a process says."""
        if told.what == "compiles":
            self.done[told.kind] = self.done.get(told.kind, 0) + 1
            self.now[told.kind] = told.name.replace("_", " ")
        else:
            self.now.pop(told.kind, None)
            (self.built if told.what == "built" else self.stopped).add(told.kind)
            if told.what == "stopped":
                self.voice.say(f"compiling {told.kind} stopped: {told.name}")
        self.voice.show(str(self))

    @property
    def compiled(self) -> int:
        """How many kernels were compiled so far."""
        return sum(self.done.values())

    def elapsed_s(self) -> float:
        """Return how long it has been going on."""
        return time.monotonic() - self.began_s

    def left_s(self) -> float:
        """Return how long it will still take: the kernels left of each kind at the rate so far, kinds side by side.

        The kernels of one part of a kind are compiled one after the other.
        """
        going = [kind for kind in self.expected if kind not in self.built | self.stopped]
        left = {kind: max(self.expected[kind] - self.done.get(kind, 0), 1) for kind in going}
        if not left:
            return 0.0
        parts = {kind: self.parts.get(kind, 1) for kind in self.expected}
        busy = max(1, min(self.cores, sum(parts.values())))
        each_s = (KERNEL_S * BELIEVED + self.elapsed_s() * busy) / (BELIEVED + self.compiled)
        longest = max(n / parts[kind] for kind, n in left.items())
        return max(longest, sum(left.values()) / busy) * each_s

    def __str__(self) -> str:
        """`compiling motion 31/56 (warp), extract 57/98 (update footprint), about 20 s left`."""
        parts = [
            f"{kind} {(n := self.done[kind])}/{max(n, expected)} ({self.now[kind]})"
            for kind, expected in self.expected.items()
            if kind in self.now
        ]
        return f"compiling {', '.join(parts) or 'operators'}, about {spelled_s(self.left_s())} left"


@contextmanager
def compiled(config: Config, spec: Spec, beside: bool = False) -> Iterator[None]:
    """While a config's chain is built within: have what is not in the cache compiled on all cores, and say so.

    Only once kernels are found missing do other processes begin; nothing is said or lost where all are there. With
    `beside` the first frame waits only for what it needs itself: the rest is compiled, or loaded, beside the frames.
    """
    with console.status("building operators") as status:
        missing = _Missing(jobs_needed(config, spec), beside, ALOUD._replace(show=status.update))
        with _found_missing(missing) as put_off:
            yield
    missing.go_on(put_off)


@contextmanager
def compiled_in_service(config: Config, spec: Spec) -> Iterator[None]:
    """The same in a service: what there is to say is logged, and all of it compiles beside the frames of others."""
    if not config.steps:
        yield
        return
    missing = _Missing(jobs_needed(config, spec), True, Voice(log.warning), others=True)
    with _found_missing(missing) as put_off:
        yield
    missing.go_on(put_off)


def jobs_needed(config: Config, spec: Spec) -> Callable[[], list[Job]]:
    """Return what lists the operators of a config's chain, for frames of a source of that spec."""
    return lambda: jobs_of(config, with_overrides(config, spec))


@contextmanager
def _found_missing(missing: _Missing) -> Iterator[PutOff | None]:
    """While operators are built within, what is missing is compiled as `missing` says; yields what they put off."""
    from ..pixels.compiles import compiles_told, misses_asked  # numba, which other commands need not wait for

    putting = putting_off(missing.compiled) if missing.beside else nullcontext()
    with compiles_told(missing.tell), misses_asked(missing.compiled_by_others), putting as put_off:
        yield put_off


class _Missing:
    """What to do about kernels that are found missing while operators are built, or later.

    others: frames of other sources come meanwhile, and go before all of it.
    """

    def __init__(self, jobs: Callable[[], Sequence[Job]], beside: bool, voice: Voice, others: bool = False) -> None:
        self.beside = beside
        self._jobs, self._voice, self._others = jobs, voice, others
        self._began = False
        self._compiling: tuple[Course, Compiling] | None = None

    def compiled_by_others(self) -> bool:
        """Have processes compile all that is missing, if they have not yet; return whether they did now."""
        from ..pixels.compiles import cache_folder

        if self._began or cores() == 1 or cache_folder() is None:
            return False
        self._began = True
        with suppress(Exception):  # who builds the chain raises it again, with its place in the config
            self._compiling = begin(self._jobs(), self._voice, self.beside, self._others)
            if self.beside:
                self._compiling[1].wait_for_first_frame()
            else:
                self._compiling[1].wait()
        return True

    def tell(self, name: str) -> None:
        """This process compiles a kernel."""
        self._voice.show(f"compiling {name.replace('_', ' ')} (once on a machine; cached after that)")

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Once the processes are through: what is done within says what is still missing."""
        from ..pixels.compiles import compiles_told, misses_asked

        while self._compiling is not None and not (self._compiling[1].over or ended()):
            time.sleep(AGAIN_S)
        with compiles_told(self.tell), misses_asked(self.compiled_by_others):
            yield

    def go_on(self, put_off: PutOff | None) -> None:
        """From now on frames flow: say what is still being compiled, and no more of it; begin with what was put off."""
        self.beside, self._voice = False, Voice(self._voice.say)
        if self._compiling is not None and not self._compiling[1].over:
            course = self._compiling[0]
            course.all_of_it()
            if course.left_s():  # all is compiled where nothing is, and the processes about to end
                self._voice.say(f"frames come; beside them: {course}")
            course.voice = self._voice
        if put_off is not None:
            put_off.start()


def begin(jobs: Sequence[Job], voice: Voice, beside: bool = False, others: bool = False) -> tuple[Course, Compiling]:
    """Begin to compile what operators need in parallel processes, showing how far it is.

    `beside`: what is shown is how long the first frame will wait. `others`: frames of other sources come meanwhile.
    """
    from ..pixels.compiles import compiles_told

    course = Course.of(jobs, voice, beside)
    kinds = ", ".join(course.expected)
    voice.say(f"compiling {kinds}, once on a machine: about {spelled_s(course.left_s())} if nothing is cached")
    return course, Compiling(jobs, watch=compiles_told, tell=course.hear, others=others)


def compile_all(jobs: Sequence[Job], show: Callable[[str], None]) -> Course:
    """Compile what operators need in parallel processes, showing how far it is; return its course.

    Raises what building one raises.
    """
    course, compiling = begin(jobs, ALOUD._replace(show=show))
    compiling.wait()
    return course


def spelled_s(seconds: float) -> str:
    """Return `20 s`, `2 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
