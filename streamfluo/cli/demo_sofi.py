"""The picture and the table that the SOFI demo ends with: what is resolved, against the emitters that are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..session.reader import Session

FWHM = 2.3548  # of a Gaussian, in standard deviations
STEPS = 4  # of the grid on which emitters are drawn, to a pixel


def pictures(session: Session) -> dict[str, tuple[np.ndarray, int]]:
    """Title → (image, cumulant order) of a session of `configs/sofi.toml`, all on the fine grid's field."""
    sofi, made = session.snapshot("sofi"), session.snapshot("reconstruct")
    offset = session.spec.camera.offset_adu if session.spec.camera is not None else 0
    return {
        "widefield mean": (sofi["mean"] - np.asarray(offset if offset is not None else 0), 1),
        "k2": (sofi["k2"], 2),
        "k4": (np.maximum(sofi["k4"], 0), 4),
        "k4 of virtual pixels, deconvolved": (made["deconvolved"], 4),
    }


def resolution_px(image: np.ndarray, order: int, session: Session) -> float:
    """FWHM [px] of the Gaussian that, laid on the known emitters, is most like the image (correlation coefficient).

    An emitter weighs its brightness to the power of the image's order.
    """
    from scipy.ndimage import gaussian_filter  # which other commands need not wait for

    position, weight = session.truth["position_px"], session.truth["brightness"] ** order
    sides = np.array(session.spec.shape)
    fine = (sides - 1) * STEPS + 1
    at = np.rint(position * STEPS).astype(int)
    inside = ((at >= 0) & (at < fine)).all(1)
    points = np.zeros(tuple(fine))
    np.add.at(points, tuple(at[inside].T), weight[inside])
    steps = (image.shape[0] - 1) // (sides[0] - 1)
    pick = tuple(slice(None, None, STEPS // steps) for _ in range(2))

    def correlation(sigma_px: float) -> float:
        drawn = gaussian_filter(points, sigma_px * STEPS, mode="constant")[pick]
        return float(np.corrcoef(drawn.reshape(-1), image.reshape(-1))[0, 1])

    tried = np.geomspace(0.2, 3, 40)
    return float(FWHM * max(tried, key=correlation))


def compare(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:blinking` through `configs/sofi.toml`."""
    truth, sofi = session.truth, session.snapshot("sofi")
    sigma = float(truth["sigma_px"])
    found = float(sofi["psf_sigma_px"])
    yield (
        "psf, sd [px]",
        f"{found:.2f}",
        f"{sigma:.2f}",
        f"{100 * (found / sigma - 1):+.0f} %, of which the pixel is +2",
    )
    yield "bleaching segments", str(len(sofi["segments"])), "", f"light falls to {_left(session):.0%}"
    for title, (image, order) in pictures(session).items():
        of_psf = "points" if "deconvolved" in title else f"{FWHM * sigma / np.sqrt(order):.2f}, the psf's"
        yield f"FWHM of {title} [px]", f"{resolution_px(image, order, session):.2f}", of_psf, ""


def draw(session: Session, path: Path) -> Path:
    """Draw the widefield mean, k2, k4 and the deconvolved picture side by side into a PNG and return its path."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    shown = pictures(session)
    figure = Figure(figsize=(16, 4.6), layout="constrained", facecolor="white")
    height, width = session.spec.shape
    for axes, (title, (image, order)) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        low, high = np.percentile(image, (1, 99.7))
        norm = PowerNorm(2 / max(order, 2), low, high)  # fourth powers would show their brightest tenth alone
        axes.imshow(image, cmap="magma", norm=norm, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        axes.set_title(f"{title}\nFWHM {resolution_px(image, order, session):.2f} px", fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=110)
    return path


def _left(session: Session) -> float:
    on = session.truth["on_emitters"]
    tenth = max(1, len(on) // 10)
    return float(on[-tenth:].mean() / on[:tenth].mean())
