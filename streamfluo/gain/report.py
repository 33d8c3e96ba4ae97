"""The plot and the page of a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.spec import Camera
from .kernels.bins import equal_bins
from .pixel_noise import Pixels
from .transfer import PhotonTransfer

BINS = 60


def draw_photon_transfer(levels: Sequence[Pixels], fit: PhotonTransfer, shape: tuple[int, int], path: Path) -> Path:
    """Draw variance against mean of each level with the fit, and the per-pixel gains, as a PNG; return its path."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_line(left, levels, fit)
    gains = fit.gains
    if gains is None or not np.isfinite(gains).any():
        right.set_axis_off()
        right.text(0.5, 0.5, f"gain undetermined:\n{fit.reason}", ha="center", va="center", wrap=True)
    else:
        low, high = np.nanpercentile(gains, (0.5, 99.5))
        shown = right.imshow(gains.reshape(shape), cmap="viridis", vmin=low, vmax=high)
        right.set(title="gain of each pixel", xticks=[], yticks=[])
        figure.colorbar(shown, ax=right, label="e/ADU", shrink=0.8)
    figure.savefig(path, dpi=110)
    return path


def _draw_line(axes: object, levels: Sequence[Pixels], fit: PhotonTransfer) -> None:
    points = []
    for n, level in enumerate(levels):
        used = ~level.saturated & np.isfinite(level.variance)
        mean, variance = equal_bins(level.mean, level.variance, used, BINS)
        label = f"level {n + 1}: {level.frames} frames" if len(levels) > 1 else f"{level.frames} frames"
        axes.plot(mean, variance, "o", ms=4, alpha=0.8, label=label)  # type: ignore[attr-defined]
        points.append(mean)
    if not fit.reason:
        ends = np.array([np.min(np.concatenate(points)), np.max(np.concatenate(points))])
        line = f"{fit.gain:.4g} e/ADU, {fit.interval[0]:.4g} to {fit.interval[1]:.4g}"
        axes.plot(ends, fit.intercept + fit.slope * ends, "k-", lw=1, label=line)  # type: ignore[attr-defined]
    axes.set(xlabel="mean [ADU]", ylabel="variance [ADU²]", title="photon transfer")  # type: ignore[attr-defined]
    axes.legend(frameon=False, fontsize=8)  # type: ignore[attr-defined]


def spell(value: object, digits: int = 4) -> str:
    """Return a number, or the median and the 5th to 95th percentile of a map, as text."""
    if value is None:
        return "unknown"
    array = np.asarray(value, float)
    if array.ndim == 0:
        return f"{float(array):.{digits}g}" if np.isfinite(array) else "unknown"
    low, middle, high = np.nanpercentile(array, (5, 50, 95))
    return f"{middle:.{digits}g} (pixels {low:.{digits}g} to {high:.{digits}g})"


def write_page(fit: PhotonTransfer, camera: Camera, facts: Mapping[str, str], path: Path) -> Path:
    """Write the results and their limits as Markdown; return the path."""
    interval = f"{fit.interval[0]:.5g} to {fit.interval[1]:.5g}" if not fit.reason else "–"
    known = "from the dark frames"
    unknown = "**unknown** without raw dark frames: a line through mean and variance cannot separate them"
    hidden = "; read noise: **unknown**, hidden by the rounding to ADU" if not fit.reason else ""
    hidden = hidden if camera.read_noise_e is None else ""
    trust = {
        "gain": f"**undetermined**: {fit.reason}" if fit.reason else "known within its 95 % interval",
        "gain of each pixel": "a map only if pixels differ significantly, shrunk towards the mean (empirical Bayes)",
        "offset and read noise": known + hidden if camera.offset_adu is not None else unknown,
        "gain and excess noise": "photon transfer measures their ratio alone: an EM register (excess noise 2) and half "
        f"the gain look the same; this gain is right for an excess noise of {camera.excess_noise:g}"
        + ("" if camera.excess_noise > 1 else "; calibrate with --em behind an EM register"),
    }
    if fit.scatter:
        trust["plot"] = "the brightest pixels of a level have few e/ADU, so their points lie above the line"
    lines = [
        "# Camera calibration",
        "",
        "| quantity | value |",
        "|---|---|",
        f"| gain [e/ADU] | {spell(None if fit.reason else fit.gain, 5)} |",
        f"| 95 % interval | {interval} |",
        f"| offset [ADU] | {spell(camera.offset_adu)} |",
        f"| read noise [e] | {spell(camera.read_noise_e)} |",
        f"| excess noise | {camera.excess_noise:g} |",
        f"| saturation [ADU] | {spell(camera.saturation_adu, 6)} |",
        f"| scatter of the pixels' gains | {f'{fit.scatter:.1%}' if fit.scatter else 'not significant'} |",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
        "![variance against mean](photon_transfer.png)",
        "",
        "## What can be trusted",
        "",
        *(f"- {name}: {text}." for name, text in trust.items()),
        *(f"- Seen, and allowed for: {note}." for note in fit.notes),
        "",
        'Use it with `camera = "calibration.npz"` under `[source]` of a config.',
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
