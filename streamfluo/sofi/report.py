"""What SOFI comes to in a report: widefield and super-resolved picture at one scale, how far they have settled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ..core.findings import Figure, Findings, Number, ReportedStep, counted, spelled
from ..pixels.report import COLOURS, chart, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FWHM = 2.3548  # of a Gaussian, in standard deviations
CUMULANT = re.compile(r"k(\d)")
FINE = ("deconvolved", "linearised")


def report_of(step: ReportedStep) -> Findings:
    """Return cumulant images beside the widefield one, and their relative error."""
    found = {int(m[1]): a for name, a in step.snapshot.items() if (m := CUMULANT.fullmatch(name))}
    if "mean" not in step.snapshot or not found:
        return Findings(sentences=["The run left no cumulant images: it was not ended in time."])
    frames = int(step.snapshot.get("frames", np.array(0)))
    pixel_um = step.sees.pixel_um
    figures = [picture(step.snapshot["mean"], "Widefield", "Mean of each pixel.", pixel_um, cmap="magma", unit="ADU")]
    for order, image in sorted(found.items())[:3]:
        figures.append(_cumulant(image, order, pixel_um))
    change = step.snapshot.get("change", np.empty(0))
    figures += [_change(change)] if np.isfinite(change).any() else []
    numbers = [Number("frames in the images", spelled(frames)), *_psf(step)]
    for n, error in enumerate(change.tolist(), 2):
        snr = step.snapshot.get(f"snr{n}")
        best = f"pixels of signal: SNR {spelled(_signal_snr(snr))}" if snr is not None else ""
        numbers.append(Number(f"relative error of order {n}", spelled(100 * error, 2), "%", best))
    segments = step.snapshot.get("segments")
    if segments is not None:
        numbers.append(Number("bleaching segments", spelled(len(segments)), "", "over which cumulants are averaged"))
    status = step.snapshot.get("psf_status")
    said = [f"The PSF's width is {status}."] if status is not None and str(status) != "determined" else []
    orders = f"orders {min(found)} to {max(found)}" if len(found) > 1 else f"order {min(found)}"
    return Findings(f"{orders} of {counted(frames, 'frame')}", numbers, figures, sentences=said)


def reconstruction_report(step: ReportedStep) -> Findings:
    """Return the reconstructed picture beside the widefield one, on the same grid."""
    snapshot = step.snapshot
    shown = next((name for name in FINE if name in snapshot and np.isfinite(snapshot[name]).any()), None)
    status = str(snapshot.get("status", ""))
    sentences = [f"{status[:1].upper()}{status[1:]}."] if status else []
    if shown is None or "widefield" not in snapshot:
        return Findings("no picture", sentences=sentences or ["The run left no picture: it was not ended in time."])
    order = int(step.params.get("order", 2))
    widefield = snapshot["widefield"]
    fine_um = _fine_um(step, widefield.shape)
    figures = [
        picture(
            widefield, "Widefield", "The mean, interpolated onto the same grid.", fine_um, cmap="magma", unit="ADU"
        ),
        _bright(snapshot[shown], f"SOFI of order {order}", "Deconvolved.", fine_um, order),
    ]
    if "linearised" in snapshot and shown != "linearised":
        figures.append(_bright(snapshot["linearised"], "Linearised", "Its root, linear in brightness.", fine_um, 1))
    source = step.source_of("psf_sigma_px")
    numbers = _psf(source, order) if source is not None else []
    return Findings(f"order {order}", numbers, figures, sentences=sentences)


def measures_of(step: ReportedStep) -> dict[str, float]:
    """Return the resolution that the highest order reaches, and how far the images have settled, for a catalogue."""
    found = _reached(step, max((int(m[1]) for name in step.snapshot if (m := CUMULANT.fullmatch(name))), default=2))
    change = step.snapshot.get("change", np.empty(0))
    if len(change) and np.isfinite(change[0]):
        found["relative_error"] = float(change[0])
    if (snr := step.snapshot.get("snr2")) is not None:
        found["snr"] = _signal_snr(snr)
    return found


def reconstruction_measures(step: ReportedStep) -> dict[str, float]:
    """Return the resolution that a picture's order reaches, for a catalogue."""
    source = step.source_of("psf_sigma_px")
    return _reached(source, int(step.params.get("order", 2))) if source is not None else {}


def _reached(step: ReportedStep, order: int) -> dict[str, float]:
    """FWHM / √order of the PSF that was measured; nothing where it was not."""
    sigma = step.snapshot.get("psf_sigma_px")
    if sigma is None or not np.isfinite(sigma):
        return {}
    reached_px = FWHM * float(sigma) / order**0.5
    found = {"psf_sigma_px": float(sigma), "resolution_px": reached_px}
    pixel_um = step.sees.pixel_um
    return found if pixel_um is None else {**found, "resolution_nm": 1000 * pixel_um * reached_px}


def _cumulant(image: np.ndarray, order: int, pixel_um: float | None) -> Figure:
    sign = "" if order % 2 == 0 else ", its magnitude"
    return _bright(np.abs(image) if order % 2 else image, f"Order {order}", f"Cumulant of order {order}{sign}.",
                   pixel_um, order)  # fmt: skip


def _bright(image: np.ndarray, title: str, said: str, pixel_um: float | None, order: int) -> Figure:
    """A picture whose brightness goes with the n-th power of the light's: shown as if by its square."""
    known = image[np.isfinite(image)]
    high = float(np.percentile(known, 99.7)) if len(known) else 1.0
    low = max(0.0, float(np.percentile(known, 1))) if len(known) else 0.0
    limits = (low, high) if high > low else None
    gamma = 2 / max(order, 2)
    said += f" Brightness to the power {spelled(gamma, 2)}." if gamma < 1 else ""
    unit = f"ADU^{order}" if order > 1 else "ADU"
    return picture(image, title, said, pixel_um, cmap="magma", gamma=gamma, limits=limits, unit=unit)


def _change(change: np.ndarray) -> Figure:
    orders = np.arange(2, 2 + len(change))

    def draw(axes: Axes) -> None:
        axes.bar(orders, 100 * change, color=COLOURS[1], width=0.6)
        axes.set(xlabel="order", ylabel="relative error [%]", xticks=orders, ylim=(0, None))

    said = "Difference between the images of half and of all frames, as an error of the images now; over their rms."
    return chart(draw, "How far the images have settled", said, size=(5.0, 2.6), wide=False)


def _psf(step: ReportedStep, order: int | None = None) -> list[Number]:
    """Return the PSF's measured width, and what a cumulant of that order makes of it."""
    sigma = step.snapshot.get("psf_sigma_px")
    if sigma is None or not np.isfinite(sigma):
        return []
    pixel_um = step.sees.pixel_um
    nm, unit = (1000 * pixel_um, "nm") if pixel_um is not None else (1.0, "px")
    fwhm = FWHM * float(sigma) * nm
    found = [Number("resolution, widefield", spelled(fwhm), unit, "FWHM of the PSF, from the decay of correlations")]
    most = order or max((int(m[1]) for name in step.snapshot if (m := CUMULANT.fullmatch(name))), default=2)
    said = f"FWHM / √{most}; deconvolution can bring it to FWHM / {most}"
    return [*found, Number(f"resolution, order {most}", spelled(fwhm / most**0.5), unit, said)]


def _signal_snr(snr: np.ndarray) -> float:
    """Median of the tenth of the pixels that have most."""
    known = snr[np.isfinite(snr)]
    return float(np.median(known[known >= np.percentile(known, 90)])) if len(known) else float("nan")


def _fine_um(step: ReportedStep, shape: tuple[int, ...]) -> float | None:
    """Side of a point of the fine grid, whose outer points are the frames' outer pixels."""
    pixel_um, width = step.sees.pixel_um, step.sees.shape[1]
    return pixel_um * (width - 1) / max(1, shape[1] - 1) if pixel_um is not None else None
