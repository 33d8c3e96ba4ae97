"""The picture and the table a demo ends with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.block import Block
from ..core.spec import Camera
from ..session.reader import Session
from ..sources.opening import open_source


def compare_with_truth(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:calcium` run through `moments`."""
    truth, frames = session.truth, session.frames
    yield "frames received", str(frames), str(truth["C"].shape[1]), f"{session.lost} lost"
    yield "frames recorded", str(frames), "simulated again", f"{_identical(session)} bit-identical"
    offset, gain = _calibration(session)
    pixels = session.spec.shape[0] * session.spec.shape[1]
    signal = (session.values("moments")["total_signal"] / pixels - offset) * gain
    expected = expected_signal(session)
    ratio = signal.mean() / expected.mean()
    yield "brightness [photons/pixel]", f"{signal.mean():.3f}", f"{expected.mean():.3f}", f"{100 * (ratio - 1):+.2f} %"
    yield "signal over time", "total_signal", "light of the truth", f"correlation {_correlation(signal, expected):.4f}"
    mean = (session.snapshot("moments")["mean"] - offset) * gain
    agreement = f"correlation {_correlation(mean, truth['background']):.4f} (blurred by motion)"
    yield "mean image", "moments.mean", "tissue at rest", agreement


def expected_signal(session: Session) -> np.ndarray:
    """Return the truth's mean photons per pixel of every frame (t,), motion left out."""
    truth = session.truth
    weight = np.zeros(truth["A_shape"][1])
    columns = np.repeat(np.arange(len(weight)), np.diff(truth["A_indptr"]))
    np.add.at(weight, columns, truth["A_data"])
    light = truth["background"].sum() + truth["neuropil_map"].sum() * truth["neuropil"] + weight @ truth["C"]
    per_pixel: np.ndarray = truth["bleaching"] * light / truth["background"].size
    return per_pixel[: session.frames]


def draw_summary(session: Session, path: Path) -> Path:
    """Draw mean, standard deviation and total signal of a session into a PNG and return its path."""
    from matplotlib.figure import Figure

    snapshot, spec = session.snapshot("moments"), session.spec
    figure = Figure(figsize=(11, 8), layout="constrained", facecolor="white")
    top, bottom = figure.subfigures(2, 1, height_ratios=(2, 1), squeeze=False)[:, 0]
    images = {"mean": snapshot["mean"], "standard deviation": np.sqrt(snapshot["variance"])}
    first = session.read_frames(0, 1)
    images = {"frame 0": first[0], **images} if len(first) else images
    for axes, (title, image) in zip(top.subplots(1, len(images)), images.items(), strict=True):
        low, high = np.percentile(image, (0.5, 99.7))
        shown = axes.imshow(image, cmap="gray", vmin=low, vmax=high)
        axes.set(title=title, xticks=[], yticks=[])
        top.colorbar(shown, ax=axes, label="ADU", shrink=0.7, location="bottom")
        if spec.pixel_um:
            _scale_bar(axes, spec.pixel_um, image.shape)
    axes = bottom.subplots()
    signal = session.values("moments")["total_signal"] / (spec.shape[0] * spec.shape[1])
    time_s = session.index("moments") * (spec.interval_s or 1.0)
    if session.truth:
        offset, gain = _calibration(session)
        axes.plot(time_s, expected_signal(session) / gain + offset, lw=3, color="0.8", label="truth")
    axes.plot(time_s, signal, lw=0.8, color="C0", label="measured")
    axes.set(xlabel="time [s]" if spec.interval_s else "frame", ylabel="mean of the frame [ADU]", xmargin=0)
    axes.legend(loc="upper right", frameon=False)
    figure.suptitle(f"{session.series['source']}: {session.frames} frames, {session.lost} lost")
    figure.savefig(path, dpi=110)
    return path


def _calibration(session: Session) -> tuple[float, float]:
    camera = session.spec.camera or Camera()
    assert isinstance(camera.offset_adu, float)  # a simulated camera is known, and even
    assert isinstance(camera.gain_e_per_adu, float)
    return camera.offset_adu, camera.gain_e_per_adu


def _scale_bar(axes: object, pixel_um: float, shape: tuple[int, ...]) -> None:
    length_um = next(n for n in (200, 100, 50, 20, 10, 5, 2, 1, 0) if n / pixel_um <= shape[1] / 3)
    y, x = shape[0] * 0.95, shape[1] * 0.05
    axes.plot([x, x + length_um / pixel_um], [y, y], color="white", lw=3)  # type: ignore[attr-defined]
    axes.text(x, y - shape[0] * 0.02, f"{length_um} µm", color="white", va="bottom")  # type: ignore[attr-defined]


def _identical(session: Session) -> int:
    same = 0
    with open_source(session.series["source"]) as source:
        for block in source.blocks():
            assert isinstance(block, Block)  # a simulation has no gaps
            recorded = session.read_frames(block.index, block.stop)
            if len(recorded) == len(block):
                same += int((recorded == block.pixels).all(axis=(1, 2)).sum())
    return same


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
