"""Calibrations for people: the plot and the page of `streamfluo calibrate`, and what a report shows of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.findings import UNKNOWN, Figure, Findings, Number, ReportedStep, spelled
from ..core.spec import Camera
from ..pixels.report import COLOURS, chart, picture
from .kernels.bins import equal_bins
from .pixel_noise import Pixels
from .transfer import PhotonTransfer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def report_of(step: ReportedStep) -> Findings:
    """Return what a recorded step has found of the camera."""
    snapshot = step.snapshot
    if "gain_e_per_adu" not in snapshot:
        return Findings(sentences=["The run left no photon transfer curve: it was not ended in time."])
    gain, status = float(snapshot["gain_e_per_adu"]), str(snapshot.get("status", ""))
    low, high = (float(edge) for edge in snapshot.get("gain_interval", (np.nan, np.nan)))
    known = np.isfinite(gain)
    within = f"95 % interval {_to(gain, low, high)}" if np.isfinite(low) else "no interval known"
    numbers = [
        Number("gain", _as(gain, high - low), "e⁻/ADU", within if known else "undetermined"),
        Number("offset", spelled(float(snapshot.get("offset_adu", np.nan))), "ADU", "unknown without dark frames"),
        Number("read noise", spelled(float(snapshot.get("read_noise_e", np.nan))), "e⁻", "unknown without dark frames"),
        Number("illumination's scatter", spelled(100 * float(snapshot.get("flicker", np.nan)), 2), "%",
               "standard deviation between frames"),
        Number("frames", spelled(int(snapshot.get("frames", 0)))),
    ]  # fmt: skip
    numbers = [
        Number(n.name, n.value, n.unit, "" if n.value != UNKNOWN and "unknown" in n.note else n.note) for n in numbers
    ]
    said = f"One ADU is {_as(gain, high - low)} photo-electrons ({within})." if known else "The gain is undetermined."
    figures = [_curve(snapshot, gain, (low, high))]
    for name, title in (("mean", "Mean"), ("gain_map", "Gain of each pixel")):
        unit, cmap = ("ADU", "gray") if name == "mean" else ("e⁻/ADU", "viridis")
        if name in snapshot and np.isfinite(snapshot[name]).any():
            figures.append(picture(snapshot[name], title, "", step.sees.pixel_um, unit=unit, cmap=cmap))
    sentences = [said, f"Status: {status}."] if status else [said]
    return Findings(
        f"{_as(gain, high - low)} e⁻/ADU" if known else "gain undetermined", numbers, figures, sentences=sentences
    )


def measures_of(step: ReportedStep) -> dict[str, float]:
    """Return the camera's gain, offset and read noise, and the illumination's relative scatter, for a catalogue."""
    names = ("gain_e_per_adu", "offset_adu", "read_noise_e", "flicker")
    return {name: float(step.snapshot[name]) for name in names if name in step.snapshot}


def _curve(snapshot: Mapping[str, np.ndarray], gain: float, interval: tuple[float, float]) -> Figure:
    """Variance over mean with its line, and the lines at the interval's ends through the same point."""
    mean, variance, fit = (snapshot.get(n, np.empty(0)) for n in ("mean_bins", "variance_bins", "variance_bins_fit"))

    def draw(axes: Axes) -> None:
        axes.plot(mean, variance, "o", ms=4, color=COLOURS[1], label="pixels by brightness")
        if np.isfinite(fit).any():
            axes.plot(mean, fit, color="#333333", label=f"{spelled(gain)} e⁻/ADU")
            if np.isfinite(interval).all():
                middle = int(np.argmin(np.abs(mean - np.median(mean))))
                slope = (fit[-1] - fit[0]) / (mean[-1] - mean[0]) if len(mean) > 1 and mean[-1] > mean[0] else 0.0
                ends = [fit[middle] + slope * gain / g * (mean - mean[middle]) for g in interval]
                axes.fill_between(mean, *ends, color="#333333", alpha=0.18, lw=0, label="95 % interval")
        axes.set(xlabel="mean [ADU]", ylabel="variance [ADU²]")
        axes.legend(fontsize=8)

    said = "Variance against mean of pixels binned by brightness; the slope is one over the gain."
    return chart(draw, "Photon transfer curve", said, size=(6.4, 3.6), wide=False)


def _as(value: float, width: float) -> str:
    """A number with as many digits as its interval of that width leaves."""
    if not (np.isfinite(value) and value):
        return UNKNOWN
    digits = int(np.clip(np.ceil(np.log10(abs(value) / width)) + 2, 2, 6)) if np.isfinite(width) and width > 0 else 4
    return spelled(float(f"{value:.{digits}g}"), digits)


def _to(gain: float, low: float, high: float) -> str:
    return f"{_as(low, high - low)} to {_as(high, high - low)}"
