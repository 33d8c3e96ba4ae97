"""What source extraction comes to in a report: cells over the mean image, traces in the same colours, measures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from ..core.errors import SessionError
from ..core.findings import Figure, Findings, Number, ReportedStep, Rows, counted, middle, spelled
from ..pixels.report import STYLE, chart, colour_of, envelope, levels, picture, stack, time_axis
from .extracted_components import MARKED, ExtractedComponents
from .recorded_activity import RecordedActivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Plain

    Canvas: TypeAlias = Plain

TRACES = 24  # in the stack: more would be too thin to read
LISTED = 20  # in the table
NUMBERED = 40  # cells with their number beside them


class _Cells(NamedTuple):
    """The accepted cells: `ids` ascending, the number of all candidates, and measures of each cell."""

    ids: np.ndarray
    candidates: int
    measures: Mapping[str, np.ndarray]


def report_of(step: ReportedStep) -> Findings:
    """Return cells, traces and measures of a recorded step."""
    if "quality_now" not in step.snapshot:
        said = "The run left no footprints: it was not ended in time. Traces up to then are in the session."
        return Findings(sentences=[said])
    cells = _cells_of(step)
    headline = f"{counted(len(cells.ids), 'cell')} accepted of {counted(cells.candidates, 'candidate')}"
    if not len(cells.ids):
        figures = [_map_of(step, cells, np.empty(0, np.int64))] if step.image("background") is not None else []
        return Findings(headline, [Number("cells accepted", "0", "", f"of {cells.candidates} candidates")], figures)
    chosen = np.sort(cells.ids[np.argsort(-_known(cells.measures["snr"]), kind="stable")[:TRACES]])
    activity = RecordedActivity(step, cells.ids, chosen)
    figures = [_map_of(step, cells, chosen), _stack_of(step, cells, chosen, activity), _heat_map(step, activity)]
    return Findings(headline, _numbers(step, cells, activity), figures, [_table(cells, activity)])


def measures_of(step: ReportedStep) -> dict[str, float]:
    """Return how many cells were accepted, and their median SNR and spatial correlation, for a catalogue."""
    if "quality_now" not in step.snapshot:
        return {}
    cells = _cells_of(step)
    found = {"cells": float(len(cells.ids)), "candidates": float(cells.candidates)}
    for name in ("snr", "spatial_corr"):
        known = cells.measures[name][np.isfinite(cells.measures[name])]
        if len(known):
            found[name] = float(np.median(known))
    return found


def _cells_of(step: ReportedStep) -> _Cells:
    found = ExtractedComponents.without_values(step)
    quality = step.snapshot["quality_now"]
    kept = np.flatnonzero(found.accepted)
    kept = kept[np.argsort(found.ids[kept])]
    y, x = found.centres_px[kept].T
    measures = {
        "snr": found.snr[kept], "spatial_corr": found.spatial_corr[kept], "area_px": quality[kept, 5],
        "birth_frame": found.birth_frame[kept], "y_px": y, "x_px": x, "structural": found.structural_chance[kept],
    }  # fmt: skip
    return _Cells(found.ids[kept], len(found), measures)


def _map_of(step: ReportedStep, cells: _Cells, chosen: np.ndarray) -> Figure:
    """Cells as contours over the mean of the corrected frames, those of the stack in the colours of their traces."""
    mean = step.image("mean")
    image = mean if mean is not None else step.snapshot["background"]
    contours = step.snapshot.get("contours", np.empty((0, 0, 2)))
    quality = step.snapshot["quality_now"]
    by_id = np.sort(quality[quality[:, 2] > 0, 0]).astype(np.int64)  # contours are those of accepted ones, by id
    lines = {int(i): points for i, points in zip(by_id, contours, strict=False)}
    known = set(cells.ids.tolist())
    chance = cells.measures["structural"] if len(cells.ids) else np.empty(0)
    marked = set(cells.ids[chance > MARKED].tolist())

    def over(axes: Axes) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.patheffects import withStroke

        edge = [withStroke(linewidth=2.5, foreground="black")]
        drawn = {i: points[np.isfinite(points).all(1)] for i, points in lines.items() if i in known}
        outlines = {i: np.vstack([points, points[:1]])[:, ::-1] for i, points in drawn.items() if len(points)}
        places = {int(i): n for n, i in enumerate(chosen.tolist())}
        others = [outline for i, outline in outlines.items() if i not in places]
        axes.add_collection(LineCollection(others, colors="#d8d8d8", linewidths=1.3, alpha=0.75))
        axes.add_collection(
            LineCollection(
                [outlines[i] for i in places if i in outlines],
                colors=[colour_of(n) for i, n in places.items() if i in outlines],
                linewidths=3.0,
            )
        )
        wider = [_widened(outlines[i]) for i in marked if i in outlines]
        axes.add_collection(LineCollection(wider, colors="#ff5a4d", linewidths=2.0, linestyles="dashed"))
        for i, outline in outlines.items():
            if i in places or len(outlines) <= NUMBERED:
                top = outline[np.argmin(outline[:, 1])]
                colour = colour_of(places[i]) if i in places else "#d8d8d8"
                axes.annotate(str(i), tuple(top), (0, 2), textcoords="offset points", fontsize=17, ha="center",
                              va="bottom", color=colour, annotation_clip=True, path_effects=edge)  # fmt: skip

    of = "mean of the corrected frames" if mean is not None else "background of the last frame"
    said = f"Contours of {counted(len(cells.ids), 'accepted cell')} at a fifth of their peak over the {of}"
    grey = ", the others grey" if len(chosen) < len(cells.ids) else ""
    said += f"; colours as in the traces{grey}." if len(chosen) else "."
    if np.isfinite(chance).any():
        said += f" Dashed red: the {len(marked)} marked as cells of the structural channel."
    return picture(image, "Cells", said, step.sees.pixel_um, over, unit="ADU")


def _widened(outline: np.ndarray) -> np.ndarray:
    """Return a closed outline (n, xy) a pixel and a half further from its middle."""
    from_middle = outline - outline[:-1].mean(0)
    distance = np.maximum(np.linalg.norm(from_middle, axis=1, keepdims=True), 1e-6)
    return np.asarray(outline + 1.5 * from_middle / distance)


def _stack_of(step: ReportedStep, cells: _Cells, chosen: np.ndarray, activity: RecordedActivity) -> Figure:
    snr = cells.measures["snr"][np.searchsorted(cells.ids, chosen)]
    of = "all cells" if len(chosen) == len(cells.ids) else f"the {len(chosen)} cells of the highest SNR"
    said = (
        f"Denoised activity of {of}, each from its smallest to its largest value; the number is the cell's, at the "
        "right stands its SNR."
    )
    notes = [f"SNR {spelled(float(f'{value:.2g}'))}" if np.isfinite(value) else "" for value in snr]
    names = [str(i) for i in chosen.tolist()]
    return stack(np.arange(step.stop), activity.traces, names, notes, step.interval_s, ("Traces", said))


def _heat_map(step: ReportedStep, activity: RecordedActivity) -> Figure:
    """All cells over time, and how many were accepted."""
    order = np.argsort(np.argmax(np.nan_to_num(activity.heat, nan=-np.inf), 1), kind="stable")
    heat = activity.heat[order]
    at, label = time_axis(np.array([0, step.stop]), step.interval_s)
    known = heat[np.isfinite(heat)]
    most = float(np.percentile(known, 99.5)) if len(known) else 1.0

    def draw(axes: Axes) -> None:
        axes.set_facecolor("#8d949b")  # not there yet
        axes.imshow(
            np.ma.masked_invalid(heat), aspect="auto", cmap="magma", vmin=0, vmax=max(most, 1e-6),
            interpolation="nearest", extent=(at[0], at[1], len(heat), 0),
        )  # fmt: skip
        axes.set(xlabel=label, ylabel="cells")
        axes.grid(False)
        if np.isfinite(activity.present).any():
            beside = axes.twinx()
            x = np.linspace(at[0], at[1], len(activity.present))
            beside.plot(x, activity.present, color="black", lw=3)
            beside.plot(x, activity.present, color="white", lw=1.5)
            beside.set(ylabel="accepted so far", ylim=(0, 1.05 * float(np.nanmax(activity.present)) + 1))
            beside.grid(False)
            beside.spines["right"].set_visible(True)

    said = (
        f"Largest denoised activity in each of {heat.shape[1]} stretches, grey where it is not known; black 0, bright "
        f"{spelled(most, 2)} noise σ. Cells in the order of their largest activity; the line: how many were accepted."
    )
    drawn = chart(draw, "All cells", said, size=(9.6, 3.2))
    return replace(drawn, kind="picture")  # its colours stay what they are on a dark page


def _numbers(step: ReportedStep, cells: _Cells, activity: RecordedActivity) -> list[Number]:
    measures, pixel_um = cells.measures, step.sees.pixel_um
    area = measures["area_px"] * (pixel_um**2 if pixel_um is not None else 1.0)
    chance = measures["structural"]
    marked = [
        Number("structural", spelled(int((chance > MARKED).sum())), "", f"of {counted(len(chance), 'cell')} marked")
    ]
    return [
        Number("cells accepted", spelled(len(cells.ids)), "", f"of {counted(cells.candidates, 'candidate')}"),
        Number("SNR", middle(measures["snr"]), "", "median of cells (5 % to 95 %)"),
        Number("spatial correlation", middle(measures["spatial_corr"], 2), "", "of footprint and images"),
        Number("largest ΔF/F", middle(activity.dff, 2), "", "of each cell in the whole recording, live estimate"),
        Number("area", middle(area), "µm²" if pixel_um is not None else "px", "of footprints"),
        *(marked if np.isfinite(chance).any() else []),
    ]


def _table(cells: _Cells, activity: RecordedActivity) -> Rows:
    m = cells.measures
    best = np.argsort(-_known(m["snr"]), kind="stable")[:LISTED]
    rows: list[tuple[str, ...]] = [
        (
            str(cells.ids[k]), f"{m['y_px'][k]:.1f}, {m['x_px'][k]:.1f}", spelled(m["snr"][k]),
            spelled(m["spatial_corr"][k], 2), spelled(float(activity.dff[k]), 2), spelled(m["area_px"][k]),
            spelled(m["birth_frame"][k]),
        )
        for k in best.tolist()
    ]  # fmt: skip
    more = len(cells.ids) - len(rows)
    caption = f"The {len(rows)} of the highest SNR; {spelled(more)} more are in the session." if more > 0 else ""
    columns: tuple[str, ...] = (
        "cell", "y, x [px]", "SNR", "spatial correlation", "largest ΔF/F", "area [px]", "found at frame",
    )  # fmt: skip
    if np.isfinite(m["structural"]).any():
        columns += ("chance of a label",)
        rows = [(*row, spelled(m["structural"][k], 2)) for row, k in zip(rows, best.tolist(), strict=True)]
    return Rows("Cells", columns, rows, caption)


def _known(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, nan=-np.inf)


def plot_components(cells: ExtractedComponents, ids: Sequence[int] | None, image: np.ndarray | None) -> Canvas:
    """Return a figure of contours over an image and traces in the same colours (`ExtractedComponents.plot`)."""
    kept = np.flatnonzero(cells.accepted)
    best = kept[np.argsort(-_known(cells.snr[kept]), kind="stable")[:TRACES]]
    chosen = np.sort(cells.ids[best]).tolist() if ids is None else [int(i) for i in ids]
    rows = cells.rows(chosen)
    canvas, (over, beside) = _axes((10.5, 0.9 + 0.25 * max(13, len(chosen))), [1, 1.6])
    _outlines(cells, over, [i for i in cells.ids[kept].tolist() if i not in chosen], ["0.75"])
    _outlines(cells, over, chosen, [colour_of(n) for n in range(len(chosen))], 1.8)
    _shown(over, cells.background if image is None else image, f"{counted(len(kept), 'cell')} accepted")
    t, label = _times(cells)
    for n, (i, row) in enumerate(zip(chosen, rows, strict=True)):
        trace = cells.traces[row].astype(float)
        beside.plot(*envelope(t, trace / max(float(np.ptp(trace)), 1e-12) - n), color=colour_of(n), lw=0.8)
        beside.annotate(str(i), (0, -n), (-3, 0), ("axes fraction", "data"), "offset points", ha="right", fontsize=7)
    beside.set(xlabel=label, yticks=[], xmargin=0, title="denoised activity, each by its own range")
    return canvas


def view_component(cells: ExtractedComponents, component: int | None) -> Canvas:
    """Return a figure of one component (`ExtractedComponents.view`). Raises SessionError."""
    kept = np.flatnonzero(cells.accepted)
    if component is None and not len(kept):
        raise SessionError("no component is accepted; view(id) shows one that is not, see .ids")
    (row,) = [kept[np.argmax(_known(cells.snr[kept]))]] if component is None else cells.rows([component])
    i = int(cells.ids[row])
    canvas, (over, *beside) = _axes((10.5, 4.2), [1, 2.2], 3)
    footprint = cells.footprints[:, [row]].toarray().reshape(cells.shape)
    verdict = "accepted" if cells.accepted[row] else "not accepted"
    _outlines(cells, over, [i], [colour_of(0)], 1.8)
    _shown(over, footprint, f"cell {i}, {verdict}, SNR {spelled(float(f'{cells.snr[row]:.2g}'))}")
    if footprint.any():
        y, x = np.nonzero(footprint)
        over.set(xlim=(x.min() - 4.5, x.max() + 4.5), ylim=(y.max() + 4.5, y.min() - 4.5))
    t, label = _times(cells)
    since = cells.frame >= cells.birth_frame[row]
    curves = [("raw", "0.6", 0), ("traces", colour_of(0), 0), ("dff", colour_of(1), 1), ("spikes", colour_of(2), 2)]
    for name, colour, place in curves:
        beside[place].plot(*envelope(t[since], getattr(cells, name)[row][since]), color=colour, lw=0.9)
    for axes, name in zip(beside, ("activity [σ]", "ΔF/F", "spikes [σ/s]"), strict=True):
        axes.set(ylabel=name, xmargin=0)
    beside[-1].set(xlabel=label)
    return canvas


@cache
def _canvas() -> type[Canvas]:
    """A figure that a notebook shows though pyplot knows nothing of it, so that it is shown once."""
    from matplotlib.figure import Figure as Plain

    class Shown(Plain):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=110)
            return file.getvalue()

    return Shown


def _axes(size: tuple[float, float], widths: list[float], rows: int = 1) -> tuple[Canvas, list[Axes]]:
    """Return a figure with axes for an image at the left and for curves over time, one above the other, beside it."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        canvas = _canvas()(figsize=size, layout="constrained", facecolor="white")
        grid = canvas.add_gridspec(rows, 2, width_ratios=widths)
        left, top = canvas.add_subplot(grid[:, 0]), canvas.add_subplot(grid[0, 1])
        return canvas, [left, top, *(canvas.add_subplot(grid[n, 1], sharex=top) for n in range(1, rows))]


def _outlines(cells: ExtractedComponents, axes: Axes, ids: list[int], colours: list[str], width: float = 0.8) -> None:
    for n, line in enumerate(cells.contours(ids)):
        if len(line):
            closed = np.vstack([line, line[:1]])
            colour = colours[n % len(colours)]
            axes.plot(closed[:, 1], closed[:, 0], color=colour, lw=width)
            top = line[np.argmin(line[:, 0])]
            axes.annotate(str(ids[n]), (top[1], top[0]), color=colour, fontsize=7, ha="center", va="bottom")


def _shown(axes: Axes, image: np.ndarray, title: str) -> None:
    low, high = levels(image)
    axes.imshow(np.ma.masked_invalid(image), cmap="gray", vmin=low, vmax=high)
    axes.set(title=title)
    axes.set_axis_off()


def _times(cells: ExtractedComponents) -> tuple[np.ndarray, str]:
    """Where frames stand along an axis: seconds, or frames where a time is not known."""
    t_s = cells.t_s
    return (t_s, "time [s]") if np.isfinite(t_s).all() else (cells.frame.astype(float), "frame")
