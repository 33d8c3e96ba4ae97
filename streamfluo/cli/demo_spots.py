"""The picture and the table that the demo of single molecules ends with: what was found, where, how bright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..session.reader import Session
from ..sweep.spots_truth import matched


def compare(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:spots` through `configs/spots.toml`."""
    seen, pixel_nm = matched(session), 1000 * (session.spec.pixel_um or 0.001)
    share, rate = seen.hits / max(seen.true, 1), seen.false / max(session.frames, 1)
    asked = session.steps["spots"].params.get("false_alarms")
    yield (
        "spots",
        str(seen.found),
        str(seen.true),
        f"{share:.1%} found, {rate:.2f} false a frame (asked for: {asked:g})",
    )
    error, stated = (float(np.sqrt(np.mean(px**2))) for px in (seen.error_px, seen.stated_px))
    agreement = f"{len(seen.photons)} lone spots, of their stated standard error {stated * pixel_nm:.1f} nm"
    yield "place, rms error [nm]", f"{error * pixel_nm:.1f}", "0", agreement
    relative = seen.photons[:, 1] / seen.photons[:, 0] if len(seen.photons) else np.full(1, np.nan)
    bias, spread = 100 * (float(np.median(relative)) - 1), 100 * float(np.std(relative))
    yield "photons of a spot", f"{bias:+.1f} %", "0 %", f"median; standard deviation {spread:.0f} %"


def draw(session: Session, path: Path) -> Path:
    """Draw a frame with its spots, photons against the true ones, and errors into a PNG; return its path."""
    from matplotlib.figure import Figure

    from ..pixels.report import levels

    figure = Figure(figsize=(16, 5.6), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3)
    number = min(session.frames - 1, 100)
    frame = session.read_frames(number, number + 1)[0]
    low, high = levels(frame)
    left.imshow(frame, cmap="gray", vmin=low, vmax=high)
    truth, table = session.truth, session.values("spots")["spots"]
    here = truth["frame"] == number
    left.plot(truth["x_px"][here], truth["y_px"][here], "o", ms=11, mfc="none", mec="#3a9bdc", label="truth")
    here = table["frame"] == number
    left.plot(table["x_px"][here], table["y_px"][here], "+", ms=7, color="#e69f00", label="found")
    left.set(title=f"frame {number}")
    left.legend(loc="upper right", fontsize=8)
    left.set(xticks=[], yticks=[])
    seen, pixel_nm = matched(session), 1000 * (session.spec.pixel_um or 0.001)
    if len(seen.error_px):
        middle.loglog(*seen.photons.T, ".", ms=3, color="#3a9bdc", alpha=0.4)
        ends = [seen.photons.min(), seen.photons.max()]
        middle.loglog(ends, ends, color="black", lw=1)
        middle.set(title=f"photons of {len(seen.photons)} lone spots", xlabel="truth", ylabel="found")
        pull = (seen.error_px / np.maximum(seen.stated_px, 1e-9)).ravel()
        right.hist(pull, bins=np.linspace(-5, 5, 61), density=True, color="#3a9bdc", label="measured")
        x = np.linspace(-5, 5, 201)
        right.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1, label="as stated")
        error_nm = float(np.sqrt(np.mean(seen.error_px**2))) * pixel_nm
        right.set(title=f"error of places: {error_nm:.1f} nm rms", xlabel="error over its standard error", yticks=[])
        right.legend(frameon=False)
    figure.savefig(path, dpi=110)
    return path
