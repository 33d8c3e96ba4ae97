"""`streamfluo reprocess`: one config over many recordings, on the cores of this machine or on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..core.errors import ConfigError, SourceError, StreamfluoError
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.compiling import cores
from ..engine.config import Config, load_config, with_overrides
from ..reprocess.one_recording import Outcome
from ..sources.opening import open_source
from .compiling import compiled
from .console import config_file, console, counted
from .progress import step_progress
from .sweep import show_sweep

MOST = 1000  # sessions of a sweep, unless somebody asks for more


def reprocess(
    config: Annotated[Path, typer.Argument(help="the TOML file, or the name of a shipped one", show_default=False)],
    sources: Annotated[
        list[str], typer.Argument(help="recordings: files, sessions, patterns, URIs", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="the folder that gets a session for each", show_default=False)],
    cluster: Annotated[
        str, typer.Option(help="local, the scheduler of a Dask cluster (tcp://…, tls://…), or slurm")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="processes, or jobs [default: one a core]")] = None,
    parts: Annotated[
        int, typer.Option(min=1, help="cut each recording into so many, which workers take at the same time")
    ] = 1,
    catalogue: Annotated[Path | None, typer.Option(help="the file of `streamfluo catalogue` that gets them")] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="of parts: frames that motion and extract learn from first [default: a 16th, 4096 or more]"
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="change a parameter: step.key or source.key=value")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="run every combination of values: step.key=1,2,3; may be given again")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="sessions that a sweep may have at most")] = MOST,
) -> None:
    """Run a config over many recordings side by side, each a session like that of a single run; what is done already
    is left alone."""
    from ..reprocess.cluster import require_dask
    from ..reprocess.recordings import recordings
    from ..reprocess.reprocessing import Cluster
    from ..reprocess.reprocessing import reprocess as reprocessed
    from ..sweep.grid import axes_of, check, points_of, tasks_of

    if sample is not None and parts == 1:
        raise ConfigError("reprocess: --sample says what parts learn from first; say into how many with --parts")
    for option, given in (("--set", changes), ("--sweep", sweep)):
        if any(text.partition("=")[0].strip() == "source.uri" for text in given or ()):
            raise ConfigError(f"reprocess: {option} source.uri: recordings are named as SOURCES, which may be several")
    require_dask()
    found = config_file(config)
    settings = load_config(found, changes or [])
    wanted, axes = recordings(sources, out), axes_of(sweep or ())
    points = points_of(axes, wanted, most if axes else len(wanted))
    stated = found.name, found.read_text(encoding="utf-8"), tuple(changes or ())
    check(axes, stated, wanted[0].uri)
    if cluster == "local":
        compile_first(settings, wanted[0].uri)
    tasks = tasks_of(points, stated, str(out.resolve()))
    on, noun = Cluster(cluster, workers or cores(), parts, sample), "session" if axes else "recording"
    outcomes = follow(reprocessed(tasks, out, on), len(points), noun)
    became = Counter(outcome.became for outcome in outcomes.values())
    table = Table(f"{noun}s", "done", "there already", "failed", box=None)
    table.add_row(str(len(points)), *(str(became[name]) for name in ("done", "there", "failed")))
    console.print(table)
    console.print(f"reprocess: {out}", soft_wrap=True)
    if axes:
        show_sweep(axes, points, outcomes, out)
    if catalogue is not None:
        from ..catalogue.scan import scan

        try:
            scan(out, catalogue)
        except StreamfluoError as error:
            console.print(f"not catalogued: {error}", soft_wrap=True)
    if became["failed"]:
        others = "; the others are done" if became["failed"] < len(outcomes) else ""
        raise SourceError(f"reprocess: {counted(became['failed'], noun)} failed, named above{others}")


def follow(found: Iterable[Outcome], count: int, noun: str = "recording") -> dict[str, Outcome]:
    """Say what became of each of `count` recordings, or sessions of a sweep (`noun`), as it is known; return all, or
    say at Ctrl-C what is left."""
    outcomes = dict[str, Outcome]()
    try:
        with step_progress() as progress:
            bar = progress.add_task(f"{noun}s", total=count)
            for outcome in found:
                outcomes[outcome.name] = outcome
                progress.advance(bar)
                if outcome.became == "failed":
                    named = "" if outcome.why.startswith(f"{outcome.uri}: ") else f"{outcome.uri}: "
                    which = f"{outcome.name}: " if noun == "session" else ""  # of one recording there are several
                    console.print(f"failed: {which}{named}{outcome.why}", soft_wrap=True)
                elif outcome.why:
                    console.print(f"{outcome.name}: muted: {outcome.why}", soft_wrap=True)
    except KeyboardInterrupt:
        failed = sum(outcome.became == "failed" for outcome in outcomes.values())
        console.print(
            f"stopped: {len(outcomes) - failed} of {counted(count, noun)} done, {failed} failed, "
            f"{count - len(outcomes)} left; the same command goes on with them",
            soft_wrap=True,
        )
        raise
    return outcomes


def compile_first(config: Config, uri: str) -> None:
    """Have kernels compiled on all cores for frames like those of a recording: each worker would compile them."""
    opened = partial(open_source, uri, planes=bool(named_planes(config.steps)))
    # what is wrong with the recording, or with the config for it, is its outcome
    with suppress(StreamfluoError), opened() as source, compiled(config, source.spec):
        Chain(config, with_overrides(config, source.spec))
