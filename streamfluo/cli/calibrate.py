"""`streamfluo calibrate`: gain, offset and read noise of a camera from one or several light levels, and darks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ..core.block import Block
from ..core.errors import SessionError, SourceError
from ..core.spec import Camera, Spec
from ..gain.fit import PhotonTransfer
from ..gain.gain import Gain, GainParams
from ..gain.kernels.photon_transfer import LEVEL_STEP
from ..gain.levels import fit_levels
from ..gain.pixel_noise import MIN_FRAMES, ROUNDING_ADU2, Dark, Pixels
from ..gain.report import draw_photon_transfer, spell, write_page
from ..sources.opening import open_source
from .console import console, frame_progress


def calibrate(
    uris: Annotated[list[str], typer.Argument(help="light: files, sim:… or tcp://…", show_default=False)],
    out: Annotated[Path, typer.Option(help="folder for calibration.npz, the plot and the page", show_default=False)],
    dark: Annotated[str | None, typer.Option(help="frames without light: a file, sim:… or tcp://…")] = None,
    frames: Annotated[int | None, typer.Option(min=MIN_FRAMES, help="of each series at most")] = None,
) -> None:
    """Calibrate a camera by photon transfer; light levels are told apart, in one series or several."""
    known, spec = (None, None) if dark is None else _take_dark(dark, frames)
    levels: list[Pixels] = []
    for uri in uris:
        spec = _take_light(uri, frames, spec, levels)
    assert spec is not None
    if not levels:
        raise SourceError(f"calibrate: no light level lasts {MIN_FRAMES} frames; record longer, under steady light")
    fit = fit_levels(levels, known)
    camera = made_camera(fit, known, spec)
    facts = {"light": ", ".join(uris), "dark": dark or "none", "levels": str(len(levels))}
    try:
        out.mkdir(parents=True, exist_ok=True)
        camera.save(out / "calibration.npz")
        draw_photon_transfer(levels, fit, spec.shape, out / "photon_transfer.png")
        page = write_page(fit, camera, facts, out / "calibration.md")
    except OSError as error:
        raise SessionError(f"calibrate: {out} cannot be written: {error.strerror}") from None
    _report(fit, camera, page)
    if fit.reason:
        raise SourceError(f"calibrate: gain undetermined: {fit.reason}")


def made_camera(fit: PhotonTransfer, dark: Dark | None, spec: Spec) -> Camera:
    """Return what is known of the camera: maps where pixels differ, numbers where they do not, None where unknown.

    A pixel's gain is drawn towards the common one by the part that noise has in the scatter of them all.
    """
    saturation = spec.camera.saturation_adu if spec.camera else None
    gain = None if fit.reason else _gain(fit, spec)
    if dark is None:
        return Camera(gain_e_per_adu=gain, saturation_adu=saturation)
    offset, variance = (np.asarray(m, float).reshape(spec.shape) for m in (dark.offset, dark.variance))
    rounding = ROUNDING_ADU2 if np.dtype(spec.dtype).kind in "iu" else 0.0
    read = None if gain is None else gain * np.sqrt(np.maximum(variance - rounding, 0))
    return Camera(offset, gain, read, None, saturation)


def _gain(fit: PhotonTransfer, spec: Spec) -> np.ndarray | float:
    if not fit.scatter or fit.gains is None:
        return fit.gain
    known = np.isfinite(fit.gains)
    noisy = np.median(np.abs(fit.gains[known] - fit.gain)) * 1.4826
    part = min(1.0, (fit.scatter * fit.gain / noisy) ** 2)
    gains = np.where(known & (fit.gains > 0), fit.gains, fit.gain)
    return np.asarray(fit.gain + part * (gains - fit.gain)).reshape(spec.shape)


def _take_dark(uri: str, frames: int | None) -> tuple[Dark, Spec]:
    """Mean and variance of each pixel without light."""
    levels: list[Pixels] = []
    spec = _take_light(uri, frames, None, levels, "dark")
    if len(levels) != 1:
        raise SourceError(f"calibrate: {uri}: dark frames have one level, found {len(levels)} of {MIN_FRAMES} or more")
    return Dark(levels[0].mean, levels[0].variance, levels[0].frames), spec


def _take_light(uri: str, frames: int | None, wanted: Spec | None, levels: list[Pixels], what: str = "light") -> Spec:
    """Append the statistics of each light level of a series; return its spec."""
    with open_source(uri) as source, frame_progress() as progress:
        spec = source.spec
        if wanted is not None and (spec.shape, spec.dtype) != (wanted.shape, wanted.dtype):
            raise SourceError(f"calibrate: {uri} is {spec.shape} {spec.dtype}, not {wanted.shape} {wanted.dtype}")
        if frames is None and source.series.frames is None:
            raise SourceError(f"calibrate: {uri} has no end; give --frames")
        total = min(frames or 1 << 62, source.series.frames or 1 << 62)
        task = progress.add_task(f"{what} {uri}", total=total, of=total, note="")
        operator, before, seen = Gain(GainParams(), spec), np.nan, 0
        for item in source.blocks():
            if not isinstance(item, Block):
                continue
            for part in _cut_at_steps(item.cut(item.index, item.index + min(len(item), total - seen))):
                if what == "light" and _is_step(before, float(part.pixels[0].mean())):
                    _finish(operator, levels)
                    operator = Gain(GainParams(), spec)
                operator.update(part)
                before, seen = float(part.pixels[-1].mean()), seen + len(part)
            progress.update(task, completed=seen)
            if seen >= total:
                break
        _finish(operator, levels)
        source.finished()
    return spec


def _cut_at_steps(block: Block) -> Iterator[Block]:
    """The block's frames, cut where the light level changes."""
    means = block.pixels.mean(axis=(1, 2)).tolist()
    steps = [n for n, (a, b) in enumerate(pairwise(means), 1) if _is_step(a, b)]
    for a, b in pairwise([0, *steps, len(block)]):
        yield block.cut(block.index + a, block.index + b)


def _is_step(before: float, after: float) -> bool:
    """Whether two consecutive frames with these means have different light levels."""
    return abs(after - before) > LEVEL_STEP * max(abs(after), abs(before))


def _finish(operator: Gain, levels: list[Pixels]) -> None:
    pixels = operator.pixels()
    if pixels is not None and pixels.frames >= MIN_FRAMES:
        levels.append(pixels)


def _report(fit: PhotonTransfer, camera: Camera, page: Path) -> None:
    table = Table("quantity", "value", "95 % interval", box=None)
    interval = "" if fit.reason else f"{fit.interval[0]:.5g} to {fit.interval[1]:.5g}"
    table.add_row("gain [e/ADU]", "undetermined" if fit.reason else f"{fit.gain:.5g}", interval)
    table.add_row("offset [ADU]", spell(camera.offset_adu), "")
    table.add_row("read noise [e]", spell(camera.read_noise_e), "")
    console.print(table)
    for note in fit.notes:
        console.print(f"corrected for: {note}")
    console.print(f"{page.parent / 'calibration.npz'}; what can be trusted: {page}", soft_wrap=True)
