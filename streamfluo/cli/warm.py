"""`streamfluo warm`: every kernel compiled beforehand, so that no first run waits for it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.errors import ConfigError
from ..core.spec import FRAME_DTYPES, Spec
from ..engine.compile_tasks import Job, jobs_of
from ..engine.config import load_config
from ..engine.shipped import shipped_configs
from .compiling import compile_all, spelled_s
from .console import console, counted

NOMINAL = Spec(shape=(64, 64), dtype="uint16", interval_s=1 / 30)  # kernels are the same for any size and interval


def warm(
    configs: Annotated[
        list[str] | None, typer.Argument(help="TOML files, or names of shipped ones [default: all shipped]")
    ] = None,
    dtype: Annotated[list[str], typer.Option(help="pixels of the frames that will come; again for several")] = [
        "uint16"
    ],
) -> None:
    """Compile every kernel that configs need into the cache, on all cores: for installers, before the first run."""
    wrong = next((name for name in dtype if name not in FRAME_DTYPES), None)
    if wrong is not None:
        raise ConfigError(f"warm: --dtype is one of {', '.join(FRAME_DTYPES)}, found {wrong!r}")
    jobs: list[Job] = []
    for name in configs or list(shipped_configs()):
        settings = load_config(name)
        for each in dtype:
            jobs += [job for job in jobs_of(settings, NOMINAL.with_(dtype=each)) if job not in jobs]
    if not jobs:
        raise ConfigError("warm: the config names no step that runs on processors")
    from ..pixels.compiles import cache_folder  # numba, which other commands need not wait for

    folder = cache_folder()
    if folder is None:
        raise ConfigError("warm: no folder can be written that compiled kernels are kept in; NUMBA_CACHE_DIR names one")
    with console.status("") as status:
        course = compile_all(jobs, status.update)
    took = f"{counted(course.compiled, 'kernel')} compiled in {spelled_s(course.elapsed_s())}"
    said = took if course.compiled else "every kernel was there already"
    console.print(f"{said}; those of streamfluo/pixels are in {folder}", soft_wrap=True)
    if len(course.built) < len(course.expected):
        raise ConfigError("warm: not everything was built; its message stands above")
