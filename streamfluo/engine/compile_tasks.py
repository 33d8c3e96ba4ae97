"""What is to be compiled for the operators of a config, and in which order processes take it."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import StreamfluoError
from ..core.operator import Operator
from ..core.registry import find_operator
from ..core.spec import Spec
from ..core.wire import SOURCE
from .config import Config

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
        of = spec.plane(spec.plane_names[0])  # those for a card as well: they may have to go on on the processor
        jobs.append(Job(step.kind, of.with_(dtype="float32") if seen else of, step.params))
    return jobs


def needed_at_once(kind: str) -> bool:
    """Return whether the first frame waits for kernels of a kind."""
    operator = find_operator(kind)
    return bool(operator.compiles) or not operator.compiles_later


def parts_of(kind: str) -> int:
    """Return in how many parts that can be compiled beside each other the kernels of a kind come."""
    operator = find_operator(kind)
    return len(operator.compiles) + len(operator.compiles_later) or 1


def kernels_of(kind: str) -> int:
    """Return how many kernels the room of an operator has: roughly so many are compiled for it."""
    return sum(len(KERNEL.findall(file.read_text(encoding="utf-8"))) for file in _kernel_files(kind))


class Task(NamedTuple):
    """Operators of a kind to build, or (not −1) the number of a part of what the first of them compiles.

    No first frame waits for a `later` one. `weight`: how long it takes, roughly.
    """

    jobs: Sequence[Job]
    part: int = -1
    later: bool = False
    weight: float = 0.0

    @property
    def kind(self) -> str:
        return self.jobs[0].kind


class Tasks:
    """What is to be built, what the first frame waits for first, of that what takes longest.

    `unbuilt` are the kinds of which something is left or failed; `at_once` is how much the first frame waits for.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        kinds: dict[str, list[Job]] = {}
        for job in jobs:
            kinds.setdefault(job.kind, []).append(job)
        tasks = [task for of_kind in kinds.values() for task in _tasks_of(of_kind)]
        self.waiting = sorted(sorted(tasks, key=attrgetter("weight"), reverse=True), key=attrgetter("later"))
        self.unbuilt = set(kinds)
        self.at_once = sum(not task.later for task in tasks)
        self._left = Counter(task.kind for task in tasks)
        self._failed = set[str]()

    def next(self) -> Task | None:
        """Return what can begin now: operators of a kind once its parts are compiled."""
        for n, task in enumerate(self.waiting):
            if task.part >= 0 or self._left[task.kind] == 1:
                return self.waiting.pop(n)
        return None

    def hear(self, task: Task, told: Told) -> bool:
        """Take in what a process says of a task; return whether it is news of a kind, not of one of its parts."""
        if told.what == "compiles":
            return True
        self._left[task.kind] -= 1
        self.at_once -= not task.later
        if told.what == "stopped":
            self._failed.add(task.kind)
            return True
        if not self._left[task.kind] and task.kind not in self._failed:
            self.unbuilt.discard(task.kind)
        return task.kind not in self.unbuilt


def _tasks_of(jobs: Sequence[Job]) -> list[Task]:
    operator, weight = find_operator(jobs[0].kind), _weight(jobs)
    now, late = len(operator.compiles), len(operator.compiles_later)
    parts = [Task(jobs, part, part >= now, weight / (now + late)) for part in range(now + late)]
    if not parts:
        return [Task(jobs, weight=weight)]
    return parts + ([Task(jobs, later=bool(late))] if len(jobs) > 1 else [])


def _weight(jobs: Sequence[Job]) -> float:
    """How long jobs of a kind take, roughly: the code of the kernels in their room, times the root of their number.

    The first job compiles most of it. By the code alone one core would end 12 s before the other, of 73 s each.
    """
    return sum(file.stat().st_size for file in _kernel_files(jobs[0].kind)) * math.sqrt(len(jobs))


def _kernel_files(kind: str) -> Iterable[Path]:
    room = ".".join(find_operator(kind).__module__.split(".")[:2])
    return Path(str(sys.modules[room].__file__)).parent.glob("kernels/*.py")
