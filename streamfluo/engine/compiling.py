"""Kernels compiled before they are needed, on all cores, into the cache that later processes load them from."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from ..core.registry import create
from ..core.spec import Spec


class Job(NamedTuple):
    """An operator to build: its kind, the frames it is for, its parameters."""

    kind: str
    spec: Spec
    params: Mapping[str, Any]


def compile_kernels(jobs: Sequence[Job], processes: int | None = None) -> None:
    """Build operators in parallel processes (None: one a core), so that numba's cache holds what they compile.

    Those of a kind share kernels and are built one after the other in one process, the kind of most jobs first. Safe
    beside programs that compile the same (pixels/kernels/kernel.py). Raises what building one raises.
    """
    kinds: dict[str, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.kind, []).append(job)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(processes or cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(_build, kind) for kind in sorted(kinds.values(), key=len, reverse=True)]:
            done.result()


def _build(jobs: Sequence[Job]) -> None:
    for kind, spec, params in jobs:
        create(kind, spec, **params)
