"""A process that takes what others leave: processor, disk and memory of the system's caches."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys

BACKGROUND_WINDOWS = 0x00100000  # PROCESS_MODE_BACKGROUND_BEGIN: processor, disk and memory
ONE_THREAD = dict.fromkeys(
    ("BLOSC_NTHREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


def step_back() -> None:
    """Run at the lowest priority that the system has, of processor and disk; what it does not have is done without."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BACKGROUND_WINDOWS)
        return
    with contextlib.suppress(OSError):
        os.nice(19)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        if ionice := shutil.which("ionice"):  # the disk's idle class; without util-linux the priority follows `nice`
            subprocess.run([ionice, "-c", "3", "-p", str(os.getpid())], check=False, capture_output=True, timeout=10)
