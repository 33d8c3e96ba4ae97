"""The picture and the table that the demo of counting ends with: the fluorophores of each spot against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..session.reader import Session

NEAR_PX = 1.0  # a spot found within this of a true one is that one
SHOWN, LAST = 3, 400  # traces, and frames of each


def counted_spots(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """(spot, true spot) (n, 2) of those found within a pixel of a true one, and the places found (spots, 2) [px]."""
    from scipy.spatial import cKDTree  # which other commands need not wait for

    table = session.values("spots")["spots"]
    last = table["frame"] == table["frame"].max(initial=-1)
    places = np.stack([table["y_px"][last], table["x_px"][last]], 1)[np.argsort(table["spot"][last])]
    if not len(places):
        return np.empty((0, 2), int), places
    distance, true = cKDTree(session.truth["position_px"]).query(places)
    return np.stack([np.flatnonzero(distance < NEAR_PX), true[distance < NEAR_PX]], 1), places


def compare(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:bleaching-steps` through `counting`."""
    (pairs, places), truth = counted_spots(session), session.truth
    yield "spots", str(len(places)), str(len(truth["y"])), f"{len(pairs)} of them"
    counts = session.snapshot("count")
    if "count" not in counts or not len(pairs):
        yield "fluorophores", "–", str(int(truth["y"].sum())), "too few frames to count"
        return
    spot, true = pairs[:, 0], truth["y"][pairs[:, 1]]
    number, (low, high) = counts["count"][spot], counts["credible_interval"][spot].T
    exact = f"{(number == true).sum()} of {len(true)} exactly, rms error {np.sqrt(np.mean((number - true) ** 2.0)):.2f}"
    yield "fluorophores", str(int(number.sum())), str(int(true.sum())), exact
    within = f"{((low <= true) & (true <= high)).sum()} of {len(true)} hold the true number"
    yield "90 % credible intervals", f"{np.mean(high - low + 1):.1f} numbers wide", "", within
    yield (
        "not determined",
        f"{int(counts['flat'][spot].sum())} flat",
        "",
        f"{int(counts['doubtful'][spot].sum())} doubtful",
    )


def draw(session: Session, path: Path) -> Path:
    """Draw the spots with their counts, traces with their fitted states, and posteriors into a PNG; return its path."""
    from matplotlib.figure import Figure

    from ..pixels.report import colour_of, levels

    (pairs, places), truth, counts = counted_spots(session), session.truth, session.snapshot("count")
    figure = Figure(figsize=(15, 6.2), layout="constrained", facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.6), squeeze=False)[0]
    axes = left.subplots()
    image = session.snapshot("spots")["looked_at"]
    low, high = levels(image)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    axes.set(title="found: true number of fluorophores", xticks=[], yticks=[])
    rows = right.subplots(SHOWN, 2, width_ratios=(4, 1), squeeze=False)
    if "count" in counts:
        for spot, of in pairs.tolist():
            y, x = places[spot]
            colour = colour_of(int(counts["count"][spot]))
            axes.plot(x, y, "o", ms=12, mfc="none", mec=colour)
            axes.text(x + 2, y - 2, f"{int(counts['count'][spot])}: {int(truth['y'][of])}", color=colour, fontsize=9)
        photons, fitted = session.values("spots")["photons"], session.values("count")["fitted"]
        for (trace, posterior), (spot, of) in zip(rows, pairs[:: max(1, len(pairs) // SHOWN)].tolist(), strict=False):
            shown = np.arange(max(0, session.frames - LAST), session.frames)
            trace.plot(shown, photons[shown, spot], lw=0.6, color="0.3", label="measured")
            trace.plot(shown, truth["light"][shown, of], lw=3, color="0.8", zorder=0, label="truth")
            trace.plot(
                shown, fitted[shown, spot], lw=1, color=colour_of(int(counts["count"][spot])), label="fitted states"
            )
            trace.set(ylabel="photons", title=f"spot {spot}", xmargin=0)
            bars = counts["posterior"][spot]
            posterior.bar(np.arange(len(bars)), bars, color="0.75")
            posterior.axvline(int(truth["y"][of]), color="black", lw=1)
            posterior.set(title="posterior", ylim=(0, 1), xticks=range(0, len(bars), 2))
        rows[0, 0].legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
        rows[-1, 0].set(xlabel="frame")
        rows[-1, 1].set(xlabel="fluorophores; line: truth")
    figure.savefig(path, dpi=110)
    return path
