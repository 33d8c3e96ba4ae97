"""`streamfluo check`: whether a config fits together, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.tree import Tree

from ..core.spec import Spec
from ..core.wire import SOURCE
from ..engine.chain import Chain
from ..engine.config import Config, load_config, with_overrides
from ..sources.opening import open_source
from .console import config_file, console

NOMINAL = Spec(shape=(512, 512), dtype="uint16")
NOMINAL_S = 1 / 30  # between frames, where the config states no interval


def check(
    config: Annotated[Path, typer.Argument(help="the TOML file", show_default=False)],
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
    chain = Chain(settings, spec)
    console.print(f"{config}: fits together")
    branches = {SOURCE: Tree(f"{where}: {spell_spec(spec)}")}
    for step in chain.steps:
        gives = ", ".join(g.name for g in step.operator.gives)
        handed = f" → {spell_spec(step.operator.out_spec)}" if step.operator.out_spec != step.operator.spec else ""
        branches[step.id] = branches[step.config.after].add(f"{step.id} ({step.config.kind}){handed}: {gives}")
    console.print(branches[SOURCE])


def _spec(settings: Config, source: str | None) -> tuple[Spec, str]:
    uri = source or settings.source.uri
    nominal = NOMINAL.with_(interval_s=settings.source.interval_s or NOMINAL_S)
    if uri is None:
        return nominal, "no source named, so against"
    if source is None and uri.startswith(("tcp:", "ipc:")):
        return nominal, f"{uri} not asked, so against"
    with open_source(uri) as opened:
        return opened.spec, uri


def spell_spec(spec: Spec) -> str:
    """Return a spec in a few words: size, type, rate and pixel size where they are known."""
    rate = f", {1 / spec.interval_s:.4g} Hz" if spec.interval_s else ""
    pixel = f", {spec.pixel_um:.4g} µm" if spec.pixel_um else ""
    return f"{spec.shape[0]} × {spec.shape[1]} {spec.dtype}{rate}{pixel}"
