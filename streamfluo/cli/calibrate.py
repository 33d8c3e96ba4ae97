"""`streamfluo calibrate`: gain, offset and read noise of a camera from one or several light levels, and darks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..core.block import Block
from ..core.errors import ConfigError, FrameError, SessionError, SourceError
from ..core.spec import Camera, Spec
from ..sources.opening import open_source
from .console import console
from .progress import frame_progress

EM_EXCESS_NOISE = 2.0  # of a register of many stages: the gain of each electron is exponentially distributed

if TYPE_CHECKING:
    from ..gain.pixel_noise import Dark, Pixels
    from ..gain.transfer import PhotonTransfer


def calibrate(
    uris: Annotated[list[str], typer.Argument(help="light: files, sim:… or tcp://…", show_default=False)],
    out: Annotated[Path, typer.Option(help="folder for calibration.npz, the plot and the report", show_default=False)],
    dark: Annotated[str | None, typer.Option(help="dark frames: a file, sim:… or tcp://…")] = None,
    frames: Annotated[int | None, typer.Option(help="largest number of frames of each series")] = None,
    em: Annotated[bool, typer.Option("--em", help="the EM register is on: it doubles the variance of light")] = False,
) -> None:
    """Calibrate a camera by photon transfer, from one or several light levels in one or several series."""
    from ..gain.calibrate import calibrate_levels  # numba, which other commands need not wait for
    from ..gain.pixel_noise import MIN_FRAMES
    from ..gain.report import draw_photon_transfer, write_page

    if frames is not None and frames < MIN_FRAMES:
        raise ConfigError(f"calibrate: --frames is {MIN_FRAMES} at least, found {frames}")
    try:
        known, spec = (None, None) if dark is None else _take_dark(dark, frames)
        levels: list[Pixels] = []
        for uri in uris:
            taken, spec = _take(uri, frames, spec)
            levels += taken
        assert spec is not None
        if em:
            levels = [replace(level, excess_noise=EM_EXCESS_NOISE) for level in levels]
            spec = spec.with_(camera=replace(spec.camera or Camera(), excess_noise=EM_EXCESS_NOISE))
        found = calibrate_levels(levels, known, spec)
    except FrameError as error:
        raise SourceError(f"calibrate: {error}") from None
    fit, camera = found.fit, found.camera
    facts = {"light": ", ".join(uris), "dark": dark or "none", "levels": str(len(levels))}
    try:
        out.mkdir(parents=True, exist_ok=True)
        camera.save(out / "calibration.npz")
        draw_photon_transfer(levels, fit, spec.shape, out / "photon_transfer.png")
        page = write_page(fit, camera, facts, out / "calibration.md")
    except OSError as error:
        raise SessionError(f"calibrate: {out} cannot be written: {error.strerror}") from None
    _report(fit, camera, page, em)
    if fit.reason:
        raise SourceError(f"calibrate: gain undetermined: {fit.reason}")


def _take_dark(uri: str, frames: int | None) -> tuple[Dark, Spec]:
    """Mean and variance of each pixel without light."""
    from ..gain.calibrate import dark_of

    levels, spec = _take(uri, frames, None, "dark")
    try:
        return dark_of(levels), spec
    except FrameError as error:
        raise SourceError(f"calibrate: {uri}: {error}") from None


def _take(uri: str, frames: int | None, wanted: Spec | None, what: str = "light") -> tuple[list[Pixels], Spec]:
    """The statistics of each light level of a series, and its spec."""
    from ..gain.calibrate import DARK_STEP, LightLevels

    with open_source(uri) as source, frame_progress() as progress:
        spec = source.spec
        if spec.planes:
            raise SourceError(f"calibrate: {uri} has planes {', '.join(spec.plane_names)}; a camera takes one, name it")
        if wanted is not None and (spec.shape, spec.dtype) != (wanted.shape, wanted.dtype):
            raise SourceError(f"calibrate: {uri} is {spec.shape} {spec.dtype}, not {wanted.shape} {wanted.dtype}")
        if frames is None and source.series.frames is None:
            raise SourceError(f"calibrate: {uri} has no end; give --frames")
        total = min(frames or 1 << 62, source.series.frames or 1 << 62)
        task = progress.add_task(f"{what} {uri}", total=total, of=total, note="")
        levels, seen = LightLevels(spec, DARK_STEP) if what == "dark" else LightLevels(spec), 0
        for item in source.blocks():
            if not isinstance(item, Block):
                continue
            block = item.cut(item.index, item.index + min(len(item), total - seen))
            levels.add(block)
            seen += len(block)
            progress.update(task, completed=seen)
            if seen >= total:
                break
        source.finished()
    return levels.finish(), spec


def _report(fit: PhotonTransfer, camera: Camera, page: Path, em: bool) -> None:
    from ..gain.report import spell

    table = Table("quantity", "value", "95 % interval", box=None)
    interval = "" if fit.reason else f"{fit.interval[0]:.5g} to {fit.interval[1]:.5g}"
    table.add_row("gain [e/ADU]", "undetermined" if fit.reason else f"{fit.gain:.5g}", interval)
    table.add_row("offset [ADU]", spell(camera.offset_adu), "")
    table.add_row("read noise [e]", spell(camera.read_noise_e), "")
    table.add_row("excess noise", spell(camera.excess_noise), "" if em else "taken as 1; --em behind an EM register")
    table.add_row("saturation [ADU]", spell(camera.saturation_adu), "")
    console.print(table)
    for note in fit.notes:
        console.print(f"seen, and allowed for: {note}")
    console.print(f"{page.parent / 'calibration.npz'}; what can be trusted: {page}", soft_wrap=True)
