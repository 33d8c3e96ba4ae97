"""`streamfluo check`: whether a config fits together, without running it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.tree import Tree

from ..core.errors import ConfigError, FrameError
from ..core.plane import Plane, in_plane
from ..core.spec import Spec
from ..core.wire import SOURCE
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.config import Config, load_config, with_overrides
from ..engine.loading import check_schemes
from ..engine.recorded_frames import recorded_frames
from ..sources.opening import open_source
from .compiling import compiled
from .console import config_file, console

NOMINAL = Spec(shape=(512, 512), dtype="uint16")
NOMINAL_S = 1 / 30  # between frames, where the config states no interval


def check(
    config: Annotated[Path, typer.Argument(help="the TOML file, or the name of a shipped one", show_default=False)],
    source: Annotated[str | None, typer.Option(help="check against this source's frames")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="change a parameter: step.key or source.key=value")
    ] = None,
) -> None:
    """Check a config: every key, kind, parameter and input, and what each step will see."""
    config = config_file(config)
    settings = load_config(config, changes or [])
    told, where = _spec(settings, source)
    spec = with_overrides(settings, told)
    with compiled(settings, told):
        chain = Chain(settings, spec)
    check_schemes(settings)
    recorded = recorded_frames(settings, chain.steps)
    console.print(f"{config}: fits together")
    roots = {name: in_plane(name, SOURCE) for name in spec.plane_names}
    branches = {
        root: Tree(f"{where}{f', plane {name}' if name else ''}: {spell_spec(spec.plane(name))}")
        for name, root in roots.items()
    }
    for step in chain.steps:
        gives = ", ".join(g.name for g in step.operator.gives)
        handed = f" → {spell_spec(step.operator.out_spec)}" if step.operator.out_spec != step.operator.spec else ""
        on = f", on {step.card}" if step.card else ""
        branches[step.id] = branches[step.after].add(f"{step.id} ({step.config.kind}{on}){handed}: {gives}")
    for root in roots.values():
        console.print(branches[root])
    for event in chain.events:
        console.print(f"{event['step']} {event['said']}", soft_wrap=True)
    for kept, (seen, _) in recorded.items():
        rate = f", {seen.frame_nbytes / seen.interval_s / 1e6:.3g} MB/s" if seen.interval_s else ""
        console.print(f"recorded: frames of {kept}, {spell_spec(seen)}{rate}", soft_wrap=True)
    for action in settings.actions:
        console.print(f"action: {action.on} → {action.to}, within {action.deadline_ms:g} ms", soft_wrap=True)
    for one in settings.inputs:
        console.print(f"input: {one.name} ← {one.uri}", soft_wrap=True)


def _spec(settings: Config, source: str | None) -> tuple[Spec, str]:
    uri = source or settings.source.uri
    named = named_planes(settings.steps)
    nominal = NOMINAL.with_(interval_s=settings.source.interval_s or NOMINAL_S, planes=nominal_planes(named))
    if uri is None:
        return nominal, "no source named, so against"
    if source is None and uri.startswith(("tcp:", "ipc:")):
        return nominal, f"{uri} not asked, so against"
    with open_source(uri, planes=bool(named)) as opened:
        return opened.spec, uri


def nominal_planes(named: Iterable[str]) -> tuple[Plane, ...]:
    """Return planes that a config asks for: of a channel named without a slice the first."""
    planes = []
    for name in named:
        channel, slash, z = name.rpartition("/") if "/" in name else (name, "", "0")
        if slash and not z.isdecimal():
            raise ConfigError(f"planes are named by channel or channel/slice, green or green/0; found {name!r}")
        try:
            planes.append(Plane(channel, int(z)))
        except FrameError as error:
            raise ConfigError(f"planes = [{name!r}]: {error}") from None
    return tuple(dict.fromkeys(planes))


def spell_spec(spec: Spec) -> str:
    """Return a spec in a few words: size, type, rate and pixel size where they are known."""
    rate = f", {1 / spec.interval_s:.4g} Hz" if spec.interval_s else ""
    pixel = f", {spec.pixel_um:.4g} µm" if spec.pixel_um else ""
    planes = f", planes {', '.join(spec.plane_names)}" if spec.planes else ""
    return f"{spec.shape[0]} × {spec.shape[1]} {spec.dtype}{rate}{pixel}{planes}"
