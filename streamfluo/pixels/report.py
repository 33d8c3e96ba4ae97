"""Pictures and charts of a report: images with a scale bar, downsampled by means, and what is drawn over time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.findings import Figure, spelled, superscript

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Draw = Callable[[Axes], None]

MAX_SIDE_PX, MIN_SIDE_PX = 1100, 80  # of a picture
SHARP_PX, PLAIN_PX = 1000, 700  # of small images at least, with lines over them and without
INCHES, BAR_PT = 10.24, 20  # of the longer side, of the letters at the scale bar
LEVELS = (0.5, 99.7)  # percentiles that are black and white
CHART_DPI = 150
QUALITY = 88  # of JPEG: pictures are to look at, the pixels themselves are in the session
POINTS = 2400  # along a chart: as many as it has pixels
# Told apart by the colour blind, and seen on black pictures and white charts alike.
COLOURS = ("#e69f00", "#3a9bdc", "#00a878", "#d55e00", "#cc79a7", "#8f7ae5", "#8c9a00", "#00a5b5")
STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "lines.linewidth": 0.9,
    "axes.grid": True, "grid.color": "0.9", "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "axes.unicode_minus": True, "text.parse_math": False,
}  # fmt: skip


def binned(image: np.ndarray, side_px: int = MAX_SIDE_PX) -> tuple[np.ndarray, int]:
    """Return the image as means of k × k pixels so that no side is longer than `side_px`, and k; NaN is not counted."""
    k = math.ceil(max(image.shape) / side_px)
    if k <= 1:
        return np.asarray(image, float), 1
    height, width = image.shape
    columns = np.arange(0, width, k)
    small = np.full((-(-height // k), len(columns)), np.nan)
    for n in range(len(small)):  # a row at a time: 20,000 × 20,000 pixels would take 3 GB as float64
        rows = np.asarray(image[n * k : (n + 1) * k], float)
        known = np.isfinite(rows)
        count = np.add.reduceat(known.sum(0), columns)
        total = np.add.reduceat(np.where(known, rows, 0.0).sum(0), columns)
        small[n] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return small, k


def levels(image: np.ndarray, percentiles: tuple[float, float] = LEVELS) -> tuple[float, float]:
    """Return what is black and what is white."""
    known = np.asarray(image, float)[np.isfinite(image)]
    if not len(known):
        return 0.0, 1.0
    low, high = (float(level) for level in np.percentile(known, percentiles))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def picture(
    image: np.ndarray, title: str, caption: str, pixel_um: float | None, over: Draw | None = None, **shown: Any
) -> Figure:
    """Return an image as a picture with a scale bar; `over` draws on it, in its pixels.

    shown: `cmap`, `gamma`, `limits` (what is black and white), `unit` of the levels in the caption, `binned` (of which
    shape the image was before, and k).
    """
    image = np.asarray(image)
    small, k = binned(image) if image.ndim == 2 and image.size else (np.empty((0, 0)), 1)
    if not np.isfinite(small).any():
        return Figure(title, f"Nothing to show: {title} has no known pixel.", b"")
    shape, k = shown.get("binned", (image.shape, k))
    low, high = shown.get("limits") or levels(small)
    caption = f"{caption} Black {spelled(low)}, white {spelled(high)}{_in(shown.get('unit', ''))}." + (
        f" Means of {k} × {k} pixels." if k > 1 else ""
    )
    drawn = _drawn(small, {**shown, "shape": shape, "k": k, "limits": (low, high)}, pixel_um, over)
    return Figure(title, caption.strip(), drawn)


def _drawn(small: np.ndarray, shown: Mapping[str, Any], pixel_um: float | None, over: Draw | None) -> bytes:
    from matplotlib import rc_context
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure as Canvas

    wanted = SHARP_PX if over is not None else PLAIN_PX
    side_px = max(small.shape)
    scale = max(1, min(MAX_SIDE_PX // side_px, math.ceil(wanted / side_px)))
    height, width = (max(MIN_SIDE_PX, side * scale) for side in small.shape)
    dpi = max(height, width) / INCHES  # letters and lines are as large in any picture
    with rc_context({"text.parse_math": False}), np.errstate(all="ignore"):
        canvas = Canvas(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="black")
        axes = canvas.add_axes((0, 0, 1, 1))
        (low, high), edges = shown["limits"], np.array(small.shape) * shown["k"]
        norm = PowerNorm(shown.get("gamma", 1.0), low, high, clip=True)
        axes.imshow(
            np.ma.masked_invalid(small), cmap=shown.get("cmap", "gray"), norm=norm, interpolation="nearest",
            extent=(-0.5, edges[1] - 0.5, edges[0] - 0.5, -0.5), aspect="auto",
        )  # fmt: skip
        axes.set_axis_off()
        if over is not None:
            over(axes)
        shape = shown["shape"]
        axes.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
        _scale_bar(axes, pixel_um, shape)
        file = io.BytesIO()
        canvas.savefig(file, format="jpg", dpi=dpi, pil_kwargs={"quality": QUALITY, "subsampling": 0})
    return file.getvalue()


def thumbnail(image: np.ndarray, side_px: int) -> bytes:
    """Return an image (y, x) as a small grey PNG, NaN transparent; empty where no pixel is known."""
    from matplotlib.image import imsave

    small = binned(image, side_px)[0] if image.ndim == 2 and image.size else np.empty((0, 0))
    if not np.isfinite(small).any():
        return b""
    low, high = levels(small)
    file = io.BytesIO()
    imsave(file, np.ma.masked_invalid(small), cmap="gray", vmin=low, vmax=high, format="png")
    return file.getvalue()


def _scale_bar(axes: Axes, pixel_um: float | None, shape: tuple[int, ...]) -> None:
    """Draw a bar of 1, 2 or 5 · 10ⁿ µm, or pixels where their side is not known."""
    from matplotlib.patheffects import withStroke

    height, width = shape
    most = 0.3 * width * (pixel_um or 1.0)
    power = 10.0 ** math.floor(math.log10(most))
    length = max(n * power for n in (1, 2, 5) if n * power <= most)
    if pixel_um is None and length < 1:
        return
    x, y = 0.96 * width - 0.5, 0.95 * height - 0.5
    edge, size = [withStroke(linewidth=3, foreground="black")], BAR_PT
    start = x - length / (pixel_um or 1.0)
    axes.plot([start, x], [y, y], color="white", lw=size / 4, solid_capstyle="butt",
              path_effects=[withStroke(linewidth=size / 2.4, foreground="black")])  # fmt: skip
    text = _length(length) if pixel_um is not None else f"{length:g} px"
    axes.annotate(
        text, ((start + x) / 2, y), (0, size / 2.5), textcoords="offset points", color="white", fontsize=size,
        ha="center", va="bottom", path_effects=edge,
    )  # fmt: skip


def _length(um: float) -> str:
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm" if um >= 1 else f"{1000 * um:g} nm"


def chart(draw: Draw, title: str, caption: str, size: tuple[float, float] = (9.6, 2.6), wide: bool = True) -> Figure:
    """Return a chart of so many inches that `draw` draws on one pair of axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context(STYLE), np.errstate(all="ignore"):
        canvas = Canvas(figsize=size, layout="constrained", facecolor="white")
        draw(canvas.subplots())
        file = io.BytesIO()
        canvas.savefig(file, format="png", dpi=CHART_DPI)
    return Figure(title, caption, file.getvalue(), "chart", "image/png", wide)


def time_axis(index: np.ndarray, interval_s: float | None) -> tuple[np.ndarray, str]:
    """Return where frames stand along an axis, and what that is called: seconds where the interval is known."""
    if interval_s is None:
        return np.asarray(index, float), "frame"
    return np.asarray(index, float) * interval_s, "time [s]"


def envelope(index: np.ndarray, values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve of at most twice so many points: smallest and largest value of each stretch, so that no peak goes.

    A stretch without a known value is NaN.
    """
    if len(index) <= 2 * points:
        return np.asarray(index, float), np.asarray(values, float)
    starts = np.linspace(0, len(index), points, endpoint=False).astype(int)
    values = np.asarray(values, float)
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    return np.repeat(np.asarray(index, float)[starts], 2), np.stack([low, high], 1).reshape(-1)


def with_holes(index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve that is interrupted where frames are missing."""
    holes = np.flatnonzero(np.diff(index) > 1) + 1
    if not len(holes) or len(holes) > len(index) // 4:
        return index, values
    return np.insert(np.asarray(index, float), holes, index[holes - 1] + 0.5), np.insert(
        np.asarray(values, float), holes, np.nan
    )


def curves(
    index: np.ndarray, by_name: Mapping[str, np.ndarray], interval_s: float | None, title: str, label: str
) -> Figure:
    """Return a chart of values of every frame over time, a line for each name."""

    def draw(axes: Axes) -> None:
        x_label = "frame"
        for n, (name, values) in enumerate(by_name.items()):
            x, y = envelope(*with_holes(index, values))
            at, x_label = time_axis(x, interval_s)
            axes.plot(at, y, color=COLOURS[(n + 1) % len(COLOURS)], label=name)
        axes.set(xlabel=x_label, ylabel=label, xmargin=0)
        if len(by_name) > 1:
            axes.legend(loc="upper right", ncols=len(by_name), fontsize=8)

    long = len(index) > 2 * POINTS
    return chart(draw, title, "Smallest and largest value of each stretch of frames." if long else "")


def stack(
    index: np.ndarray, rows: np.ndarray, names: list[str], notes: list[str], interval_s: float | None,
    about: tuple[str, str],
) -> Figure:  # fmt: skip
    """Return a chart of traces (t, n) one above the other, each from its smallest to its largest value.

    notes: a word at the right end of each. about: title and caption.
    """

    def draw(axes: Axes) -> None:
        x_label = "frame"
        for n in range(rows.shape[1]):
            x, y = envelope(*with_holes(index, rows[:, n]))
            low, high = (float(f(y, initial=b, where=np.isfinite(y))) for f, b in ((np.min, np.inf), (np.max, -np.inf)))
            at, x_label = time_axis(x, interval_s)
            axes.plot(at, -n + 0.92 * (y - low) / max(high - low, 1e-12), color=colour_of(n), lw=0.8)
        for n, note in enumerate(notes):
            axes.annotate(note, (1, -n), (3, 0), ("axes fraction", "data"), "offset points", fontsize=7, color="0.35")
        axes.set(xlabel=x_label, yticks=[-n for n in range(len(names))], xmargin=0, ylim=(-len(names) + 0.7, 1.1))
        left, right = time_axis(np.array([index[0], index[-1] + 1]), interval_s)[0] if len(index) else (0.0, 1.0)
        axes.set_xlim(float(left), float(right))
        axes.set_yticklabels(names, fontsize=7)
        for n, label in enumerate(axes.get_yticklabels()):
            label.set_color(colour_of(n))
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)

    return chart(draw, *about, size=(9.6, 0.9 + 0.25 * max(2, len(names))))


def colour_of(n: int) -> str:
    """Return the n-th colour; they repeat."""
    return COLOURS[n % len(COLOURS)]


def _in(unit: str) -> str:
    return f" {superscript(unit)}" if unit else ""
