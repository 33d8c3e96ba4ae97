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

    Safe beside programs that compile the same (pixels/kernels/shared_cache.py). Raises what building one raises.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(processes or cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(_build, job) for job in jobs]:
            done.result()


def _build(job: Job) -> None:
    create(job.kind, job.spec, **job.params)
