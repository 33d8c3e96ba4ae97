"""Counts for people: the table and the plots that `streamfluo count` writes, and what a report shows of a step."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.findings import Figure, Findings, Number, ReportedStep, counted, middle, spelled
from ..pixels.report import COLOURS, chart, colour_of, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from . import Counts

NAMES = ("mu", "mu_bg", "sigma", "p_on", "p_off", "p_bleach")
SURE, FLAT, DOUBTFUL = COLOURS[1], "#9aa4ad", "#d55e00"
SHOWN = 400  # spots with an interval each; of more, every n-th
PLACE_RECORDS = 8  # of the table of spots, for where they are


def write_table(found: Counts, path: Path) -> None:
    """Write one line per trace: count, interval, parameters, posterior, or the reason why it is skipped."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        probabilities = [f"P(y={y})" for y in found.candidates]
        writer.writerow(["trace", "y", "low", "high", "flat", "doubtful", "why", *NAMES, *probabilities, "skipped"])
        parameters = found.parameters.array()
        for n, y in enumerate(found.y.tolist()):
            if n in found.skipped:
                writer.writerow([n, *[""] * (6 + len(NAMES) + len(probabilities)), found.skipped[n]])
                continue
            chosen = parameters[n, y - int(found.candidates[0])]
            writer.writerow(
                [
                    n,
                    y,
                    *found.credible_interval[n].tolist(),
                    int(found.flat[n]),
                    int(found.doubtful[n]),
                    found.doubts[n],
                ]
                + [f"{v:.6g}" for v in (*chosen, *found.posterior[n])]
                + [""]
            )


def draw_trace(trace: np.ndarray, n: int, found: Counts, path: Path) -> Path:
    """Write a PNG of a trace with its Viterbi states, its intensity histogram and its posterior; return the path."""
    from matplotlib.figure import Figure

    k = int(found.y[n] - found.candidates[0])
    chosen = found.parameters.array()[n, k]
    figure = Figure(figsize=(11, 3.2), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, width_ratios=(6, 1, 2))
    left.plot(trace, lw=0.6, color="0.6", label="trace")
    states = found.states[n]
    # Levels in the unit of the trace: a line through the median intensity of each state.
    seen = np.unique(states)
    medians = np.array([np.median(trace[states == z]) for z in seen])
    slope, offset = np.polyfit(seen, medians, 1) if len(seen) > 1 else (0.0, medians[0])
    left.plot(offset + slope * states, lw=1, color="C0", drawstyle="steps-mid", label=f"states of y = {found.y[n]}")
    left.set(xlabel="frame", ylabel="intensity", title=f"trace {n}", xlim=(0, len(trace) - 1))
    left.legend(frameon=False, fontsize=8, loc="upper right")
    middle.hist(trace, bins=60, orientation="horizontal", color="0.6")
    middle.set(xticks=[], yticks=[], ylim=left.get_ylim())
    colours = ["C0" if y == found.y[n] else "0.75" for y in found.candidates]
    right.bar(found.candidates, found.posterior[n], color=colours)
    low, high = found.credible_interval[n]
    title = f"90 %: {low} to {high}" + (", flat" if found.flat[n] else "")
    right.set(xlabel="fluorophores", ylabel="posterior", ylim=(0, 1), title=title, xticks=found.candidates)
    if found.doubtful[n]:
        right.axvspan(low - 0.5, high + 0.5, color="C3", alpha=0.15, zorder=0)
        right.set_title(f"doubtful: {found.doubts[n]}; {title[6:]}", color="C3", fontsize=9)
    figure.text(0.01, 0.01, "  ".join(f"{a} {v:.3g}" for a, v in zip(NAMES, chosen, strict=True) if v), fontsize=6)
    figure.savefig(path, dpi=100)
    return path


def report_of(step: ReportedStep) -> Findings:
    """Return the counts of a recorded step."""
    snapshot = step.snapshot
    if "count" not in snapshot:
        return Findings(sentences=["The run left no counts: it was not ended in time."])
    count = snapshot["count"].astype(float)
    if not len(count):
        return Findings("no spot", sentences=["There was no spot to count in."])
    doubtful, flat = (np.asarray(snapshot.get(n, np.zeros(len(count)))) > 0 for n in ("doubtful", "flat"))
    sure = ~(doubtful | flat)
    of_sure = f"median of the {counted(int(sure.sum()), 'spot')} determined (5 % to 95 %)"
    numbers = [
        Number("spots", spelled(len(count))),
        Number("fluorophores in a spot", middle(count[sure]), "", of_sure),
        Number("doubtful", spelled(int(doubtful.sum())), "", "the model could not have made their traces"),
        Number("not determined", spelled(int((flat & ~doubtful).sum())), "", "their posterior is flat"),
    ]  # fmt: skip
    intervals = snapshot.get("credible_interval")
    figures = [_histogram(count, doubtful, flat)]
    figures += [_intervals(count, intervals, doubtful, flat)] if intervals is not None else []
    figures += _places(step, count, doubtful)
    figures += _crosschecks(snapshot, count)
    headline = f"{counted(int(sure.sum()), 'spot')} of {len(count)} determined"
    sentences = []
    if doubtful.any():
        sentences.append(
            f"{counted(int(doubtful.sum()), 'spot')} of {len(count)} are doubtful: light that drifts, fluorophores "
            "that differ, neighbours, or blinking faster than the frames; do not take their numbers as counts."
        )
    return Findings(headline, numbers, figures, sentences=sentences)


def measures_of(step: ReportedStep) -> dict[str, float]:
    """Return how many spots there are, the median number of fluorophores of those that are determined, their share."""
    count = np.asarray(step.snapshot.get("count", np.empty(0)), float)
    none = np.zeros(len(count))
    sure = ~((step.snapshot.get("doubtful", none) > 0) | (step.snapshot.get("flat", none) > 0))
    found = {"spots": float(len(count))}
    if sure.any():
        found |= {"emitters": float(np.median(count[sure])), "determined_share": float(sure.mean())}
    return found


def _histogram(count: np.ndarray, doubtful: np.ndarray, flat: np.ndarray) -> Figure:
    values = np.arange(int(count.max()) + 2)
    kinds = {"determined": (~doubtful & ~flat, SURE), "not determined": (flat & ~doubtful, FLAT),
             "doubtful": (doubtful, DOUBTFUL)}  # fmt: skip

    def draw(axes: Axes) -> None:
        bottom = np.zeros(len(values))
        for name, (which, colour) in kinds.items():
            here = np.bincount(count[which].astype(int), minlength=len(values))[: len(values)]
            if here.any():
                axes.bar(values, here, bottom=bottom, color=colour, width=0.75, label=f"{name}: {int(here.sum())}")
            bottom += here
        axes.set(xlabel="fluorophores", ylabel="spots", xticks=values[:: max(1, len(values) // 16)])
        axes.legend(fontsize=8)

    return chart(draw, "Counts", "Most likely number of fluorophores in each spot.", size=(5.0, 3.0), wide=False)


def _intervals(count: np.ndarray, intervals: np.ndarray, doubtful: np.ndarray, flat: np.ndarray) -> Figure:
    order = np.lexsort((intervals[:, 1], intervals[:, 0], count))
    order = order[:: 1 + len(order) // SHOWN]

    def draw(axes: Axes) -> None:
        at, width = np.arange(len(order)), float(np.clip(160 / len(order), 0.8, 3.0))
        for which, colour in ((~doubtful & ~flat, SURE), (flat & ~doubtful, FLAT), (doubtful, DOUBTFUL)):
            here = which[order]
            low, high = intervals[order][here].T
            axes.vlines(at[here], low - 0.08, high + 0.08, color=colour, lw=width, alpha=0.6)
            axes.plot(at[here], count[order][here], "o", ms=3, color=colour)
        axes.set(xlabel="spots, by their number", ylabel="fluorophores", ylim=(-0.5, None))

    one_of = f" One spot of {1 + len(count) // SHOWN}." if len(count) > SHOWN else ""
    said = "Points: most likely number; bars: 90 % credible interval; grey: not determined, red: doubtful." + one_of
    return chart(draw, "Counts with their intervals", said, size=(5.0, 3.0), wide=False)


def _places(step: ReportedStep, count: np.ndarray, doubtful: np.ndarray) -> list[Figure]:
    """Spots coloured by their count over what they were found in, where the step they come from says where they are."""
    source = step.source_of("photons")
    image = source.image("looked_at") if source is not None else None
    places = _of_spots(source, len(count)) if source is not None else None
    if image is None:
        image = step.image("mean")
    if image is None or places is None:
        return []

    def over(axes: Axes) -> None:
        colours = [colour_of(int(number)) for number in count]
        ring = 0.02 * max(image.shape)
        axes.scatter(places[:, 1], places[:, 0], s=90, facecolors="none", edgecolors=colours, linewidths=1.6)
        for (y, x), number, doubt, colour in zip(places, count, doubtful, colours, strict=True):
            if np.isfinite(y):
                text = f"{int(number)}?" if doubt else f"{int(number)}"
                axes.annotate(text, (x + ring / 2, y - ring / 2), fontsize=15, color=colour, annotation_clip=True)

    said = "Number of fluorophores in each spot, a question mark where it is doubtful."
    return [picture(image, "Where they are", said, step.sees.pixel_um, over, unit="ADU")]


def _of_spots(source: ReportedStep, spots: int) -> np.ndarray | None:
    """Places (spot, yx) [px], the mean of what the first records of a table of spots say; NaN where none does."""
    total, seen = np.zeros((spots, 2)), np.zeros(spots)
    for n, record in enumerate(source.records()):
        columns = _columns(record.arrays)
        if columns is not None:
            spot, y, x = columns
            good = (spot >= 0) & (spot < spots) & np.isfinite(y) & np.isfinite(x)
            np.add.at(total, spot[good].astype(int), np.stack([y[good], x[good]], 1))
            np.add.at(seen, spot[good].astype(int), 1)
        if n >= PLACE_RECORDS and seen.all():
            break
    if not seen.any():
        return None
    return np.where(seen[:, None] > 0, total / np.maximum(seen, 1)[:, None], np.nan)


def _columns(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    tables = {name.partition("/")[0] for name in arrays if "/" in name}
    for table in tables:
        names = [f"{table}/{column}" for column in ("spot", "y_px", "x_px")]
        if all(name in arrays and len(arrays[name]) for name in names):
            spot, y, x = (arrays[name] for name in names)
            return spot, y, x
    return None


def _crosschecks(snapshot: Mapping[str, np.ndarray], count: np.ndarray) -> list[Figure]:
    """The counts against those of bleaching steps and of cumulants, which know nothing of the model."""
    others = {name.replace("_", " "): snapshot[name].astype(float) for name in ("bleaching_steps", "cumulant_count")
              if name in snapshot and np.isfinite(snapshot[name]).any()}  # fmt: skip
    if not others:
        return []

    def draw(axes: Axes) -> None:
        top = float(count.max()) + 1
        for n, (name, other) in enumerate(others.items()):
            jitter = 0.12 * np.sin(np.arange(len(count)) * 2.4 + n)
            axes.plot(count + jitter, np.clip(other, 0, 2 * top), "o^"[n % 2], ms=4, alpha=0.6, label=name)
        axes.plot([0, top], [0, top], color="0.4", lw=0.8)
        axes.set(xlabel="fluorophores", ylabel="by other ways")
        axes.legend(fontsize=8)

    said = "Numbers from bleaching steps and cumulants against the posterior's; beyond twice the axis they stand at it."
    return [chart(draw, "Cross-checks", said, size=(5.0, 3.0), wide=False)]
