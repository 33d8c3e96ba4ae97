"""The picture and the table that the demo of calcium imaging ends with: shifts, cells, traces, rates, truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..session.reader import Session
from ..sweep.cells_truth import EDGE, RATE_FRAMES, Comparison, rms

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = 12  # traces
DETAIL_S = 12.0  # of one cell


def compare(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:calcium` through `calcium_2p`."""
    seen = Comparison(session)
    error = (seen.shift_px - seen.moved_px)[seen.valid]
    measured, true = (rms(shift - np.mean(shift, 0)) for shift in (seen.shift_px[seen.valid], seen.moved_px))
    agreement = f"rms error {rms(error):.3f} px, {seen.valid.sum()} of {len(seen.valid)} frames valid"
    yield "shift, rms [px]", f"{measured:.2f}", f"{true:.2f}", agreement
    f1, precision, recall = seen.f1
    agreement = f"F1 {f1:.2f} (precision {precision:.2f}, recall {recall:.2f})"
    yield "cells", str(len(seen.kept)), str(len(seen.truth["C"])), agreement
    traces, rates = seen.correlation("C", "traces"), seen.correlation("spikes", "spikes", RATE_FRAMES)
    of = f"{len(seen.pairs)} pairs"
    yield "activity", of, "calcium", f"median correlation {traces:.3f}"
    binned = f"spikes in bins of {RATE_FRAMES} frames"
    yield "spike rate", of, binned, f"median correlation {rates:.3f}"


def draw(session: Session, path: Path) -> Path:
    """Draw the mean with contours, the traces over the true ones and one cell in detail into a PNG; return its path."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from ..pixels.report import STYLE

    seen = Comparison(session)
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 8.6), layout="constrained", facecolor="white")
        top, bottom = figure.subfigures(2, 1, height_ratios=(2.1, 1), squeeze=False)[:, 0]
        left, right = top.subplots(1, 2, width_ratios=(1, 1.15))
        _draw_cells(left, seen)
        _draw_traces(right, seen)
        _draw_one(bottom.subplots(2, 1, sharex=True, height_ratios=(2, 1)), seen)
        figure.savefig(path, dpi=110)
    return path


def _draw_cells(axes: Axes, seen: Comparison) -> None:
    from ..pixels.report import levels

    shape, pixel_um = seen.session.spec.shape, seen.session.spec.pixel_um
    image = seen.session.snapshot("motion")["mean"]
    low, high = levels(image)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    for image in seen.true_footprints:
        if image.max() > 0:
            axes.contour(image, [EDGE * image.max()], colors="white", linewidths=0.9, linestyles="dotted")
    if seen.cells is not None and len(seen.kept):
        by_id = seen.kept[np.argsort(seen.cells.ids[seen.kept])].tolist()
        outlines = dict(zip(by_id, seen.session.snapshot("extract")["contours"], strict=False))
        for place, row in enumerate(_places(seen)):
            y, x = outlines[row][np.isfinite(outlines[row]).all(1)].T
            axes.fill(x, y, fill=False, edgecolor=_colour(place), lw=1.8)
    f1 = seen.f1[0]
    axes.set(title=f"{len(seen.kept)} cells found (colours) of {len(seen.truth['C'])} (dotted): F1 {f1:.2f}",
             xticks=[], yticks=[])  # fmt: skip
    axes.grid(False)
    if pixel_um:
        length_um = next(n for n in (200, 100, 50, 20, 10, 5, 2, 1, 0) if n / pixel_um <= shape[1] / 3)
        y, x = shape[0] * 0.95, shape[1] * 0.05
        axes.plot([x, x + length_um / pixel_um], [y, y], color="white", lw=3)
        axes.text(x, y - shape[0] * 0.02, f"{length_um} µm", color="white", va="bottom")


def _draw_traces(axes: Axes, seen: Comparison) -> None:
    drawn = seen.pairs[:DRAWN]
    for place, pair in enumerate(drawn):
        true, found = (course / max(course.max(), 1e-9) for course in seen.traces_of(pair, "C", "traces"))
        time_s = _time_s(seen, len(found))
        axes.plot(time_s, true - 1.15 * place, color="0.75", lw=2.2, label="truth" if not place else None)
        axes.plot(time_s, found - 1.15 * place, color=_colour(place), lw=0.9)
    said = f"traces of {len(drawn)} cells over their true calcium (grey): correlation"
    axes.set(title=f"{said} {seen.correlation('C', 'traces'):.2f}", xlabel="time [s]", yticks=[], xmargin=0.01)
    axes.grid(False)


def _draw_one(both: Any, seen: Comparison) -> None:
    """One cell's raw and denoised activity over its true calcium, and its rate over the true spikes."""
    upper, lower = both
    if not seen.pairs:
        upper.set_title("no cell was found: too few frames")
        return
    pair = max(seen.pairs[:DRAWN], key=lambda one: seen.truth["spikes"][one[0]].sum())
    true, found = seen.traces_of(pair, "C", "traces")
    raw = seen.traces_of(pair, "C", "raw")[1]
    fired, rate = seen.traces_of(pair, "spikes", "spikes")
    interval_s = seen.session.spec.interval_s or 1.0
    last = slice(-min(len(found), round(DETAIL_S / interval_s)), None)
    time_s, scale = _time_s(seen, len(found))[last], float(true @ found) / max(float(true @ true), 1e-9)
    upper.plot(time_s, scale * true[last], color="0.75", lw=3, label="true calcium")
    upper.plot(time_s, raw[last], color="0.55", lw=0.6, label="demixed")
    upper.plot(time_s, found[last], color=_colour(seen.pairs.index(pair)), lw=1.4, label="denoised")
    upper.set(ylabel="activity [σ]", xmargin=0.01, title="one cell in detail")
    upper.legend(loc="upper left", ncols=3, fontsize=8)
    lower.bar(time_s, fired[last], width=interval_s, color="0.75", label="true spikes a frame")
    beside = lower.twinx()
    beside.plot(time_s, rate[last], color=_colour(seen.pairs.index(pair)), lw=1.2)
    beside.set(ylabel="rate [σ/s]", ylim=(0, None))
    beside.grid(False)
    lower.set(ylabel="spikes", xlabel="time [s]", xmargin=0.01)
    lower.legend(loc="upper left", fontsize=8)


def _places(seen: Comparison) -> list[int]:
    """Rows of all accepted components: those of pairs first, as traces are drawn."""
    paired = [row for _, row in seen.pairs]
    return paired + [int(row) for row in seen.kept if row not in paired]


def _colour(place: int) -> str:
    from ..pixels.report import colour_of

    return colour_of(place)


def _time_s(seen: Comparison, frames: int) -> np.ndarray:
    """Times of the last frames [s]."""
    assert seen.cells is not None
    times_s: np.ndarray = seen.cells.frame[len(seen.cells.frame) - frames :] * (seen.session.spec.interval_s or 1.0)
    return times_s
