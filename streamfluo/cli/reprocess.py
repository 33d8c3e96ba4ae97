"""`streamfluo reprocess`: one config over many recordings, on the cores of this machine or on a cluster."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..core.errors import SourceError, StreamfluoError
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.compiling import cores
from ..engine.config import Config, load_config, with_overrides
from ..sources.opening import open_source
from .compiling import compiled
from .console import config_file, console, counted
from .progress import step_progress


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
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="of parts: frames that motion and extract learn from first [default: a 16th, 4096 or more]"
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="change a parameter: step.key or source.key=value")
    ] = None,
) -> None:
    """Run a config over many recordings side by side, each a session like that of a single run; what is done already
    is left alone."""
    from ..reprocess.recordings import recordings
    from ..reprocess.reprocessing import Cluster
    from ..reprocess.reprocessing import reprocess as run_all

    found = config_file(config)
    settings = load_config(found, changes or [])
    wanted = recordings(sources)
    if cluster == "local":
        compile_first(settings, wanted[0].uri)
    stated = found.name, found.read_text(encoding="utf-8"), tuple(changes or ())
    became, failed = Counter[str](), []
    try:
        with step_progress() as progress:
            bar = progress.add_task("recordings", total=len(wanted))
            for outcome in run_all(stated, wanted, out, Cluster(cluster, workers or cores(), parts, sample)):
                became[outcome.became] += 1
                progress.advance(bar)
                if outcome.became == "failed":
                    failed.append(outcome)
                    named = "" if outcome.why.startswith(f"{outcome.uri}: ") else f"{outcome.uri}: "
                    console.print(f"failed: {named}{outcome.why}", soft_wrap=True)
                elif outcome.why:
                    console.print(f"{outcome.name}: muted: {outcome.why}", soft_wrap=True)
    except KeyboardInterrupt:
        done, left = became["done"] + became["there"], len(wanted) - became.total()
        console.print(
            f"stopped: {done} of {counted(len(wanted), 'recording')} done, {len(failed)} failed, {left} left; the same "
            "command goes on with them",
            soft_wrap=True,
        )
        raise
    table = Table("recordings", "done", "there already", "failed", box=None)
    table.add_row(str(len(wanted)), *(str(became[name]) for name in ("done", "there", "failed")))
    console.print(table)
    console.print(f"reprocess: {out}", soft_wrap=True)
    if failed:
        raise SourceError(f"reprocess: {counted(len(failed), 'recording')} failed, named above; the others are done")


def compile_first(config: Config, uri: str) -> None:
    """Have kernels compiled on all cores for frames like those of a recording: each worker would compile them."""
    opened = partial(open_source, uri, planes=bool(named_planes(config.steps)))
    # what is wrong with the recording, or with the config for it, is its outcome
    with suppress(StreamfluoError), opened() as source, compiled(config, source.spec):
        Chain(config, with_overrides(config, source.spec))
