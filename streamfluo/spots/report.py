"""What localisations come to in a report: the rendered picture beside the widefield one, photons, widths, precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core.findings import Figure, Findings, Number, ReportedStep, counted, middle, spelled
from ..core.step_values import IDS
from ..pixels.report import COLOURS, chart, curves, picture, stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_FINE_SIDE = 1100  # of the rendered picture
FINE = 8  # parts of a pixel at most
KEPT = 200_000  # localisations whose figures are kept for histograms
UNSOUND = 1 | 2 | 8 | 16 | 128  # flags of fits that do not count: border, saturated, not converged, outside, offset
TRACES = 20  # of spots at known places
NEEDED = ("y_px", "x_px", "photons")
_KEPT = ("photons", "error", "sigma_px", "background", "chi2", "y_error_px", "x_error_px")


@dataclass
class _Seen:
    """What one pass over the table leaves: how many, how many of them sound, a histogram on the fine grid, samples,
    and the spots whose places are known."""

    fine: np.ndarray
    parts: int
    rows: int = 0
    sound: int = 0
    samples: dict[str, list[np.ndarray]] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)

    def of(self, name: str) -> np.ndarray:
        """Return the sample of a column."""
        return np.concatenate(self.samples.get(name, [np.empty(0)]))


def report_of(step: ReportedStep) -> Findings:
    """Return what a recorded step has found, or measured at known places."""
    seen, count = _seen(step), step.per_frame("count")
    status = str(step.snapshot.get("status", ""))
    sentences = [f"The camera and the false alarms: {status}."] if status else []
    if seen.ids:
        figures = [*_looked_at(step), *_photon_traces(step, seen)]
        said = [*sentences, f"{counted(seen.rows, 'measurement')} at known places, one a spot and frame."]
        return Findings(counted(len(seen.ids), "known spot"), _numbers(step, seen, count), figures, sentences=said)
    headline = counted(seen.rows, "localisation")
    figures = [_rendered(step, seen), *_looked_at(step)] if seen.sound else _looked_at(step)
    if np.isfinite(count).any():
        figures.append(curves(step.index, {"spots": count}, step.interval_s, "Spots in each frame", "spots"))
    figures += [_histograms(step, seen)] if seen.sound else []
    return Findings(headline, _numbers(step, seen, count), figures, sentences=sentences)


def measures_of(step: ReportedStep) -> dict[str, float]:
    """Return spots a frame, their photons, precision and width (medians), and the share without a fault."""
    seen, count = _seen(step), step.per_frame("count")
    found = {"localisations": float(seen.rows), "precision_px": _precision_px(seen)}
    medians = {"spots_a_frame": count, "background": seen.of("background"), "psf_sigma_px": seen.of("sigma_px")}
    medians[step.units.get("photons_bins") or "photons"] = seen.of("photons")
    for name, values in medians.items():
        if np.isfinite(values).any():
            found[name] = float(np.nanmedian(values))
    if seen.rows:
        found["sound_share"] = seen.sound / seen.rows
    return found


def _seen(step: ReportedStep) -> _Seen:
    """Read the table once; every n-th localisation of a long one is kept for histograms."""
    height, width = step.sees.shape
    parts = max(1, min(FINE, MAX_FINE_SIDE // max(height, width)))
    found = _Seen(np.zeros((height * parts, width * parts)), parts)
    for record in step.records():
        found.ids |= set(record.arrays[IDS].tolist()) if "photons" in record.arrays and IDS in record.arrays else set()
        here = {n.partition("/")[2]: a for n, a in record.arrays.items() if n.startswith("spots/")}
        if not set(NEEDED) <= here.keys():
            continue
        y, x = here["y_px"], here["x_px"]
        flags = here.get("flags", np.zeros(len(y), int)).astype(np.int64)
        inside = (y >= -0.5) & (x >= -0.5) & (y < height - 0.5) & (x < width - 0.5)  # NaN is nowhere
        sound = inside & ((flags & UNSOUND) == 0) & np.isfinite(here["photons"])
        found.rows += len(y)
        found.sound += int(sound.sum())
        at = tuple(((axis[sound] + 0.5) * parts).astype(int) for axis in (y, x))
        np.add.at(found.fine, at, 1.0)
        every = 1 + found.rows // KEPT
        for name in _KEPT:
            if name in here:
                found.samples.setdefault(name, []).append(np.array(here[name][sound][::every], float))
    return found


def _photon_traces(step: ReportedStep, seen: _Seen) -> list[Figure]:
    """Photons of the first spots over time."""
    ids = sorted(seen.ids)[:TRACES]
    index, rows = step.index, np.full((len(step.index), len(ids)), np.nan)
    start = 0
    for record in step.records():
        photons = record.arrays.get("photons")
        if photons is not None and IDS in record.arrays:
            _, column, at = np.intersect1d(ids, record.arrays[IDS], return_indices=True)
            rows[start : start + record.frames, column] = photons[:, at]
        start += record.frames
    if not np.isfinite(rows).any():
        return []
    unit = step.units.get("photons") or "photons"
    notes = [spelled(float(np.nanmax(row)), 2) if np.isfinite(row).any() else "" for row in rows.T]
    of = "all spots" if len(ids) == len(seen.ids) else f"the first {len(ids)} of {len(seen.ids)} spots"
    said = f"Of {of}, each from its smallest to its largest value, which stands at the right [{unit}]."
    return [stack(index, rows, [str(i) for i in ids], notes, step.interval_s, ("Photons in every frame", said))]


def _precision_px(seen: _Seen) -> float:
    """Median standard error of a place [px]; NaN where errors are not known."""
    both = [seen.of(name) for name in ("y_error_px", "x_error_px")]
    if not all(len(each) for each in both):
        return float("nan")
    mean = np.sqrt((both[0] ** 2 + both[1] ** 2) / 2)
    known = mean[np.isfinite(mean)]
    return float(np.median(known)) if len(known) else float("nan")


def _rendered(step: ReportedStep, seen: _Seen) -> Figure:
    """Each localisation as a Gaussian of the median precision."""
    from scipy.ndimage import gaussian_filter  # which other reports need not wait for

    precision_px = _precision_px(seen)
    sigma = max(0.6, precision_px * seen.parts) if np.isfinite(precision_px) else 1.0
    rendered = gaussian_filter(seen.fine, sigma, mode="constant")
    pixel_um = step.sees.pixel_um
    fine_um = pixel_um / seen.parts if pixel_um is not None else None
    width = _length(sigma / seen.parts, pixel_um)
    said = (
        f"{counted(seen.sound, 'localisation')}, each a Gaussian of σ = {width}, on {seen.parts} × {seen.parts} parts "
        "of a pixel; brightness as the square root of their density."
    )
    lit = rendered[rendered > 1e-6 * rendered.max()]
    limits = (0.0, float(np.percentile(lit, 97)))
    unit = "localisations in a part"
    return picture(
        rendered, "Rendered localisations", said, fine_um, cmap="inferno", gamma=0.5, limits=limits, unit=unit
    )


def _looked_at(step: ReportedStep) -> list[Figure]:
    image = step.snapshot.get("looked_at")
    if image is None:
        image = step.image("mean")
    if image is None:
        return []
    return [
        picture(image, "Widefield", "Mean of the frames in which spots are looked for.", step.sees.pixel_um, unit="ADU")
    ]


def _histograms(step: ReportedStep, seen: _Seen) -> Figure:
    unit = step.units.get("photons_bins") or "photons"
    pixel_um = step.sees.pixel_um
    nm = 1000 * pixel_um if pixel_um is not None else 1.0
    of = "nm" if pixel_um is not None else "px"
    error = np.sqrt((seen.of("y_error_px") ** 2 + seen.of("x_error_px") ** 2) / 2) * nm
    shown = {f"{unit} of a localisation": seen.of("photons"), f"precision [{of}]": error,
             f"width σ [{of}]": seen.of("sigma_px") * nm}  # fmt: skip

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        for n, (label, values) in enumerate(shown.items()):
            inner = axes.inset_axes((0.345 * n, 0.0, 0.29, 1.0))
            known = values[np.isfinite(values)]
            low, high = (float(edge) for edge in np.percentile(known, (0, 99.5))) if len(known) else (0.0, 0.0)
            if high > low * (1 + 1e-6):
                inner.hist(known, bins=60, range=(low, high), color=COLOURS[1])
                inner.axvline(float(np.median(known)), color="#333333", lw=1)
            else:
                said = f"{spelled(low)}, all alike" if len(known) else "not known"
                inner.text(0.5, 0.5, said, ha="center", transform=inner.transAxes)
                inner.set(xticks=[])
            inner.set(xlabel=label, yticks=[])

    said = f"Of {counted(len(seen.of('photons')), 'sound localisation')}; the line is the median."
    return chart(draw, "Photons, precision, width", said, size=(9.6, 2.6))


def _numbers(step: ReportedStep, seen: _Seen, count: np.ndarray) -> list[Number]:
    pixel_um = step.sees.pixel_um
    unit = step.units.get("photons_bins") or "photons"
    nm, of = (1000 * pixel_um, "nm") if pixel_um is not None else (1.0, "px")
    flagged = f"{100 * seen.sound / seen.rows:.3g} % of fits without a fault" if seen.rows else ""
    error = np.sqrt((seen.of("y_error_px") ** 2 + seen.of("x_error_px") ** 2) / 2)
    return [
        Number("measurements" if seen.ids else "localisations", spelled(seen.rows), "", flagged),
        Number("in a frame", middle(count), "spots", "median of frames (5 % to 95 %)"),
        Number("light", middle(seen.of("photons")), unit, "of a localisation"),
        Number("precision", middle(error * nm), of, "standard error of a place, along one axis"),
        Number("width σ", middle(seen.of("sigma_px") * nm), of, "of the PSF, as fitted or stated"),
        Number("background", middle(seen.of("background")), f"{unit}/px", ""),
        Number("χ²", middle(seen.of("chi2")), "", "over its degrees of freedom: 1 where model and camera are right"),
    ]


def _length(px: float, pixel_um: float | None) -> str:
    return f"{spelled(1000 * px * pixel_um, 2)} nm" if pixel_um is not None else f"{spelled(px, 2)} px"
