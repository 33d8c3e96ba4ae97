"""`streamfluo run`: a source through a config's chain into a session."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.table import Table

from ..core.control import Change
from ..core.decision import Decision
from ..core.errors import ConfigError, SourceError
from ..core.source import Source
from ..engine.building import named_planes
from ..engine.config import Config, load_config, parse_config
from ..engine.engine import Engine
from ..session.events import changes_in
from ..session.health import spelled_facts, spelled_ms
from ..session.reader import open_session
from ..sources.opening import open_source
from .advise import look_at, reasons
from .compiling import compiled
from .console import config_file, console, counted, stop_on_signals
from .keys import meet
from .progress import frame_progress
from .view import require_viewer, start_viewer

AGAIN_S = 0.5
CHANGES_OF = typer.Option(
    help="a session whose changes of live parameters are made again at their frames, or none "
    "[default: those of a source that is a session]"
)
WAIT = typer.Option("--wait", min=0, help="how long to wait for a source that is not there, or pauses [s]")


def run(
    config: Annotated[
        Path | None,
        typer.Argument(help="the TOML file that says which steps to run, or a shipped one's name", show_default=False),
    ] = None,
    source: Annotated[str | None, typer.Option(help="a file, sim:… or tcp://…; overrides the config's")] = None,
    out: Annotated[Path | None, typer.Option(help="session folder to write [default: ./NAME-UTC time]")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="change a parameter: step.key or source.key=value")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the session in --out")] = False,
    publish: Annotated[str | None, typer.Option(help="serve results to viewers here; overrides the config's")] = None,
    view: Annotated[bool, typer.Option("--view", help="open a viewer on the run")] = False,
    wait_s: Annotated[float, WAIT] = 0.0,
    changes_of: Annotated[str | None, CHANGES_OF] = None,
    auto: Annotated[bool, typer.Option("--auto", help="with the config that `advise` proposes for --source")] = False,
) -> None:
    """Run a source through a chain of operators and record what comes of it."""
    config, settings = proposed(config, source, changes or []) if auto else loaded(config, changes or [])
    uri = source or settings.source.uri
    if uri is None:
        raise ConfigError(f"{config.name}: no source; give [source] uri or --source")
    settings = published(settings, publish, view)
    out = out or default_out(config.stem)
    with opened_within(wait_s, uri, planes=bool(named_planes(settings.steps))) as opened:
        with compiled(settings, opened.spec, beside=True):
            engine = Engine(opened, settings, out, resume=resume, changes=recorded_changes(changes_of))
        if settings.inputs and opened.seekable:
            console.print(f"inputs are not opened: {uri} is read again, with its own", soft_wrap=True)
        watch(engine, view=view)
        report(engine, out)
    if engine.error:
        raise SourceError(engine.error)


def loaded(config: Path | None, changes: Sequence[str]) -> tuple[Path, Config]:
    """Return where the config is and what it says."""
    if config is None:
        raise ConfigError("run: give a config, or --auto with --source for the one that `streamfluo advise` proposes")
    found = config_file(config)
    return found, load_config(found, changes)


def proposed(config: Path | None, source: str | None, changes: Sequence[str]) -> tuple[Path, Config]:
    """Return the name and the config that `advise` proposes for a source, and print its reasons."""
    if config is not None or source is None:
        raise ConfigError("run: --auto takes no config, it proposes one for what --source names")
    found = look_at(source, changes)
    for line in reasons(found):
        console.print(line, soft_wrap=True)
    if not found.config:
        raise ConfigError(f"run: --auto: {source}: the job cannot be told: {found.job.why}; give a config")
    return Path(found.job.kind), parse_config(found.config, "the proposed config", changes)


def recorded_changes(session: str | None) -> tuple[Change | Decision, ...] | None:
    """Return the changes of a session, or of none; None: of the source's own."""
    return session if session is None else () if session == "none" else changes_in(open_session(session).events)


def opened_within(wait_s: float, uri: str, planes: bool) -> Source:
    """Open a source, trying again for so long where it is not there yet, and waiting so long if it pauses."""
    meet(uri)
    deadline = time.monotonic() + wait_s
    with console.status(f"opening {uri}"):
        while True:
            try:
                source = open_source(uri, planes=planes)
            except SourceError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(AGAIN_S)
            else:
                source.patience_s = wait_s
                return source


def published(settings: Config, uri: str | None, view: bool) -> Config:
    """Return the config with the endpoint asked for; a viewer needs one, a free port will do."""
    if view:
        require_viewer()
        uri = uri or settings.publish.uri or "tcp://127.0.0.1:0"
    return replace(settings, publish=replace(settings.publish, uri=uri)) if uri is not None else settings


def default_out(name: str) -> Path:
    """Return ./NAME-UTC time."""
    return Path(f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


def watch(engine: Engine, duration_s: float | None = None, view: bool = False) -> None:
    """Run an engine to its end with a progress bar; Ctrl-C and SIGTERM end it with everything written.

    With `duration_s` it is finished so long after its first frame; with `view` a viewer is opened on it.
    """
    total = engine.source.series.frames
    if engine.publisher is not None:
        console.print(f"serving results at {engine.publisher.endpoint}", soft_wrap=True)
    with stop_on_signals(engine.stop), frame_progress() as progress, kept_out_of_collections():
        task = progress.add_task("frames", total=total, of=total or "…", note="")
        engine.start()
        if view and engine.publisher is not None:
            start_viewer(engine.publisher.endpoint)
        said, doubtful = False, set[str]()
        while not engine.wait(0.1):
            health = engine.health()
            for step in health.doubtful.keys() - doubtful:
                console.print(f"{step} is doubtful: {health.doubtful[step]}", soft_wrap=True)
            doubtful |= health.doubtful.keys()
            if engine.stopping and not said and (waiting := engine.waiting_frames):
                said = True
                console.print(f"stopping: {counted(waiting, 'frame')} wait; stop again to leave them in the journal")
            if duration_s is not None and health.elapsed_s >= duration_s:
                engine.stop("finished")
            stalled = "".join(f", {job} waits: {reason}" for job, reason in health.stalled.items())
            stalled += "".join(f", {sentence}" for sentence in health.blocked.values())
            said_so_far = ", ".join(filter(None, (f"{health.lost} lost", engine.found)))
            progress.update(task, completed=health.frames, note=f"{said_so_far}{stalled}")


@contextmanager
def kept_out_of_collections() -> Iterator[None]:
    """Have the garbage collector leave alone what is there already: to look through all of it, some 150,000 objects of
    libraries, takes 72 ms, in which no frame is worked on."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def report(engine: Engine, out: Path, latency: bool = True) -> None:
    """Print what a run did; its latency says nothing where frames come as fast as they are taken."""
    health = engine.health()
    rate = f", {health.frames / health.elapsed_s:.0f} frames/s" if health.elapsed_s else ""
    total = engine.source.series.frames
    console.print(
        f"{engine.state.partition(':')[0]}: {health.frames} of {total or '…'} frames, {health.lost} lost, "
        f"{health.elapsed_s:.1f} s{rate} → {out}"
    )
    if health.frames and engine.found:
        console.print(f"found: {engine.found}")
    if not health.steps_ms:
        return
    table = Table("step", "p50 ms", "p99 ms", "max ms", "", box=None)
    for step, times in health.steps_ms.items():
        figures = [f"{times[name]:.3f}" if name in times else "–" for name in ("p50", "p99", "max")]
        table.add_row(step, *figures, f"muted: {health.muted[step]}" if step in health.muted else "")
    console.print(table)
    for name, times in health.latency_ms.items() if latency else ():
        console.print(f"{name}: {spelled_ms(times)}")
    for name, facts in {**health.actions, **health.inputs}.items():
        console.print(f"{name}: {spelled_facts(facts)}", soft_wrap=True)
    for step, doubt in health.doubtful.items():
        console.print(f"{step} is doubtful: {doubt}", soft_wrap=True)
