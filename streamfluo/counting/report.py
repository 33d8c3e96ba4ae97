"""The table of all traces and the plot of each that `streamfluo count` writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from . import Counts

NAMES = ("mu", "mu_bg", "sigma", "p_on", "p_off", "p_bleach")


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
