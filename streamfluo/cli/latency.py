"""`streamfluo latency`: how long a closed loop takes on this machine, from a frame's arrival to the action's packet."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ..core.errors import SourceError
from ..engine.config import load_config, parse_config
from ..engine.engine import Engine
from ..engine.latency import LoopTimes, loop_times, with_loop_back
from ..network.actions import LoopBack
from ..session.health import Health
from ..sources.opening import open_source
from .compiling import compiled
from .console import config_file, console
from .run import watch
from .served import served

BINS_MS = (0.5, 1, 2, 3, 5, 10, 15, 30, 50, 100)
BAR = 50  # characters of the longest


def latency(
    config: Annotated[Path, typer.Argument(help="the TOML file, or the name of a shipped one", show_default=False)],
    source: Annotated[
        str, typer.Option(help="frames in place of the camera's, from another process")
    ] = "sim:calcium?shape=512x512&frames=900&seed=1",
    fps: Annotated[float, typer.Option(min=0.1, help="frames a second")] = 30.0,
    skip: Annotated[int, typer.Option(min=0, help="frames at the beginning that do not count")] = 350,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="change a parameter: step.key or source.key=value")
    ] = None,
) -> None:
    """Measure a config's closed loop: its triggers decide at each frame, each decision comes back over ZeroMQ."""
    loop = LoopBack()
    try:
        settings = with_loop_back(load_config(config_file(config), changes or []), loop.uri)
        with (
            TemporaryDirectory(prefix="streamfluo-") as folder,
            served(_beforehand(source, Path(folder)), fps) as endpoint,
            open_source(endpoint) as camera,
        ):
            with compiled(settings, camera.spec):
                engine = Engine(camera, settings, None)
            watch(engine)
    finally:
        loop.close()
    if engine.error:
        raise SourceError(engine.error)
    times, health = loop_times(loop.received, skip), engine.health()
    if not len(times.total_ms):
        muted = "; ".join(f"{step}: {why}" for step, why in health.muted.items())
        raise SourceError(f"latency: no decision came back after frame {skip} {muted}".rstrip())
    _print(times, health, fps)


def _beforehand(source: str, folder: Path) -> str:
    """Record what is simulated: to simulate a frame of 512×512 takes 8 ms of a core that the loop needs."""
    if not source.startswith("sim:"):
        return source
    with console.status(f"simulating {source}"), open_source(source) as simulated:
        engine = Engine(simulated, parse_config("[record]\nraw = true\n"), folder / "camera")
        engine.start()
        engine.wait()
    if engine.error:
        raise SourceError(engine.error)
    return str(folder / "camera")


def _print(times: LoopTimes, health: Health, fps: float) -> None:
    table = Table("part of the way", "p50", "p99", "max", box=None)
    parts = {
        "from arrival until the chain takes it": times.waiting_ms,
        "in the chain, until it is decided": times.chain_ms,
        "until the action's packet": times.action_ms,
        "in all": times.total_ms,
    }
    for name, ms in parts.items():
        table.add_row(name, *(f"{value:.2f} ms" for value in (*np.percentile(ms, (50, 99)), ms.max())))
    console.print(table)
    counts = np.histogram(times.total_ms, (0, *BINS_MS, np.inf))[0]
    for upper, count in zip((*BINS_MS, np.inf), counts, strict=True):
        label = f"≤ {upper:g} ms" if np.isfinite(upper) else f"> {BINS_MS[-1]} ms"
        if count:
            console.print(f"{label:>10} {count:6} {'█' * max(1, round(BAR * count / counts.max()))}")
    console.print(_advice(times, health, fps))


def _advice(times: LoopTimes, health: Health, fps: float) -> str:
    """Which part of the way takes longest."""
    waiting_ms, chain_ms, action_ms = (float(np.percentile(part, 99)) for part in times)
    slowest = max(health.steps_ms, key=lambda step: health.steps_ms[step].get("p50", 0.0))
    step_ms = health.steps_ms[slowest].get("p50", 0.0)
    if step_ms > 1000 / fps:
        return f"{slowest} takes {step_ms:.2f} ms a frame, more than there is between two at {fps:g} a second"
    if waiting_ms > max(chain_ms, action_ms):
        return f"most of it is the wait for the chain's thread ({waiting_ms:.2f} ms, p99): leave it a core of its own"
    if action_ms > chain_ms:
        return (
            f"most of it is the way out of the process ({action_ms:.2f} ms, p99): the machine is busy with other work"
        )
    return f"most of it is the chain ({chain_ms:.2f} ms, p99), and there {slowest}"
