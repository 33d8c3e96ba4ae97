"""The picture and the table that the demo of calibration ends with: the camera against the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..session.reader import Session


def compare(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:gain` through `configs/calibrate.toml`."""
    truth, found = session.truth, session.snapshot("gain")
    gain, (low, high) = float(found["gain_e_per_adu"]), found["gain_interval"]
    true = float(np.median(truth["gain_map"]))
    held = "holds" if low <= true <= high else "does not hold"
    of = f"{100 * (gain / true - 1):+.2f} %; the 95 % interval, {low:.4f} to {high:.4f}, {held} the truth"
    yield "gain [e/ADU]", f"{gain:.4f}", f"{true:.4f}", of
    maps = found["gain_map"], truth["gain_map"]
    known = np.isfinite(maps[0])
    if known.any():
        spread = 100 * float(np.std(maps[0][known] / maps[1][known]))
        expected = 100 * float(np.sqrt(2 / max(int(found["frames"]), 1)))
        yield "gain of each pixel", f"sd {spread:.1f} %", "0 %", f"from so many frames {expected:.1f} % is expected"
    level = truth["level_photons"][0] * truth["illumination"] / truth["gain_map"] + truth["offset_map"]
    correlation = float(np.corrcoef(found["mean"].ravel(), level.ravel())[0, 1])
    yield (
        "mean of each pixel [ADU]",
        f"{found['mean'].mean():.1f}",
        f"{level.mean():.1f}",
        f"correlation {correlation:.5f}",
    )
    yield "status", str(found["status"]), "", ""


def draw(session: Session, path: Path) -> Path:
    """Draw the photon transfer curve with the true line, and maps of mean and gain into a PNG; return its path."""
    from matplotlib.figure import Figure

    truth, found = session.truth, session.snapshot("gain")
    figure = Figure(figsize=(15, 5), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    mean, gain = found["mean_bins"], float(np.median(truth["gain_map"]))
    left.plot(mean, found["variance_bins"], "o", ms=4, color="#3a9bdc", label="pixels by brightness")
    left.plot(
        mean, found["variance_bins_fit"], color="black", lw=1, label=f"{float(found['gain_e_per_adu']):.4f} e/ADU"
    )
    offset, read_e = float(np.median(truth["offset_map"])), float(np.median(truth["read_noise_map"]))
    true = (mean - offset) / gain + (read_e / gain) ** 2 + 1 / 12
    left.plot(mean, true, color="#d55e00", lw=1, ls="--", label=f"truth: {gain:.4f} e/ADU")
    left.set(xlabel="mean [ADU]", ylabel="variance [ADU²]", title="photon transfer")
    left.legend(frameon=False)
    for axes, image, title, unit in (
        (middle, found["mean"], "mean of each pixel", "ADU"),
        (right, found["gain_map"], "gain of each pixel", "e/ADU"),
    ):
        low, high = np.nanpercentile(image, (0.5, 99.5))
        shown = axes.imshow(image, cmap="viridis" if unit == "e/ADU" else "gray", vmin=low, vmax=high)
        axes.set(title=title, xticks=[], yticks=[])
        figure.colorbar(shown, ax=axes, label=unit, shrink=0.8)
    figure.savefig(path, dpi=110)
    return path
