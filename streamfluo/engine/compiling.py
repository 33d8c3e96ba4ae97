"""Kernels compiled before they are needed, on all cores, into the cache that later processes load them from."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ..core.registry import create, find_operator
from ..core.spec import Spec


class Job(NamedTuple):
    """An operator to build: its kind, the frames it is for, its parameters."""

    kind: str
    spec: Spec
    params: Mapping[str, Any]


def compile_kernels(jobs: Sequence[Job], processes: int | None = None) -> None:
    """Build operators in parallel processes (None: one a core), so that numba's cache holds what they compile.

    Those of a kind share kernels and are built one after the other in one process, those of most code and jobs first:
    with spots at the end one core waits a minute for the other. Safe beside programs that compile the same
    (pixels/kernels/kernel.py). Raises what building one raises.
    """
    kinds: dict[str, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.kind, []).append(job)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(processes or cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(_build, kind) for kind in sorted(kinds.values(), key=_weight, reverse=True)]:
            done.result()


def _weight(jobs: Sequence[Job]) -> float:
    """How long jobs of a kind take, roughly: the code of the kernels in their room, times the root of their number.

    The first job compiles most of it. By the code alone one core would end 12 s before the other, of 73 s each.
    """
    room = ".".join(find_operator(jobs[0].kind).__module__.split(".")[:2])
    code = sum(file.stat().st_size for file in Path(str(sys.modules[room].__file__)).parent.glob("kernels/*.py"))
    return code * math.sqrt(len(jobs))


def _build(jobs: Sequence[Job]) -> None:
    gc.set_threshold(100_000, 50, 100)  # a compiler's objects live on: looking for garbage took a tenth of the time
    for kind, spec, params in jobs:
        create(kind, spec, **params)
