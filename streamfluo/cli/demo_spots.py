"""The picture and the table that the demo of single molecules ends with: what was found, where, how bright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..session.reader import Session

NEAR_PX = 1.5  # a localisation nearer than this to a spot found it
BORDER_PX = 4  # spots nearer to the border are fitted with part of their light
ALONE_PX = 10  # no other spot within: of these precision and photons are compared
UNSOUND = 8 | 16  # flags of a fit that did not converge, and of a spot outside the field


class Matched(NamedTuple):
    """Localisations beside the spots: (true, found) in view, hits and false ones; of lone spots the error of their
    place and its standard error (n, 2) [px], and their photons, true and found (n, 2)."""

    true: int
    found: int
    hits: int
    false: int
    error_px: np.ndarray
    stated_px: np.ndarray
    photons: np.ndarray


def matched(session: Session) -> Matched:
    """Match the localisations of a session of `sim:spots` through `spots` with the truth, frame by frame."""
    from scipy.spatial import cKDTree  # which other commands need not wait for

    truth, table = session.truth, session.values("spots")["spots"]
    sound = table["flags"] & UNSOUND == 0
    there, here = (np.stack([of["y_px"], of["x_px"]], 1) for of in (truth, table))
    last = np.array(session.spec.shape) - 1 - BORDER_PX
    counts, rows = [0, 0, 0, 0], []
    for frame in range(session.frames):
        true, found = np.flatnonzero(truth["frame"] == frame), np.flatnonzero((table["frame"] == frame) & sound)
        inner = ((there[true] > BORDER_PX) & (there[true] < last)).all(1)
        claimed = ((here[found] > BORDER_PX) & (here[found] < last)).all(1)
        counts[0] += int(inner.sum())
        counts[1] += int(claimed.sum())
        if not len(true) or not len(found):
            counts[3] += int(claimed.sum())
            continue
        nearest, number = cKDTree(here[found]).query(there[true])
        counts[2] += int((nearest[inner] < NEAR_PX).sum())
        counts[3] += int((cKDTree(there[true]).query(here[found])[0][claimed] >= NEAR_PX).sum())
        beside = cKDTree(there[true]).query(there[true], 2)[0][:, 1]
        alone = inner & (beside > ALONE_PX) & (nearest < NEAR_PX)
        rows.append(np.stack([true[alone], found[number[alone]]], 1))
    pairs = np.concatenate(rows) if rows else np.empty((0, 2), int)
    t, f = pairs.T
    stated = np.stack([table["y_error_px"], table["x_error_px"]], 1)
    photons = np.stack([truth["photons_spot"][t], table["photons"][f]], 1)
    return Matched(counts[0], counts[1], counts[2], counts[3], here[f] - there[t], stated[f], photons)


def compare(session: Session) -> Iterator[tuple[str, str, str, str]]:
    """Yield (result, measured, truth, agreement) of a session of `sim:spots` through `configs/spots.toml`."""
    seen, pixel_nm = matched(session), 1000 * (session.spec.pixel_um or 0.001)
    share, rate = seen.hits / max(seen.true, 1), seen.false / max(session.frames, 1)
    asked = session.steps["spots"].params.get("false_alarms")
    yield (
        "spots",
        str(seen.found),
        str(seen.true),
        f"{share:.1%} found, {rate:.2f} false a frame (asked for: {asked:g})",
    )
    error, stated = (float(np.sqrt(np.mean(px**2))) for px in (seen.error_px, seen.stated_px))
    agreement = f"{len(seen.photons)} lone spots, of their stated standard error {stated * pixel_nm:.1f} nm"
    yield "place, rms error [nm]", f"{error * pixel_nm:.1f}", "0", agreement
    relative = seen.photons[:, 1] / seen.photons[:, 0] if len(seen.photons) else np.full(1, np.nan)
    bias, spread = 100 * (float(np.median(relative)) - 1), 100 * float(np.std(relative))
    yield "photons of a spot", f"{bias:+.1f} %", "0 %", f"median; standard deviation {spread:.0f} %"


def draw(session: Session, path: Path) -> Path:
    """Draw a frame with its spots, photons against the true ones, and errors into a PNG; return its path."""
    from matplotlib.figure import Figure

    from ..pixels.report import levels

    figure = Figure(figsize=(16, 5.6), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3)
    number = min(session.frames - 1, 100)
    frame = session.read_frames(number, number + 1)[0]
    low, high = levels(frame)
    left.imshow(frame, cmap="gray", vmin=low, vmax=high)
    truth, table = session.truth, session.values("spots")["spots"]
    here = truth["frame"] == number
    left.plot(truth["x_px"][here], truth["y_px"][here], "o", ms=11, mfc="none", mec="#3a9bdc", label="truth")
    here = table["frame"] == number
    left.plot(table["x_px"][here], table["y_px"][here], "+", ms=7, color="#e69f00", label="found")
    left.set(title=f"frame {number}")
    left.legend(loc="upper right", fontsize=8)
    left.set(xticks=[], yticks=[])
    seen, pixel_nm = matched(session), 1000 * (session.spec.pixel_um or 0.001)
    if len(seen.error_px):
        middle.loglog(*seen.photons.T, ".", ms=3, color="#3a9bdc", alpha=0.4)
        ends = [seen.photons.min(), seen.photons.max()]
        middle.loglog(ends, ends, color="black", lw=1)
        middle.set(title=f"photons of {len(seen.photons)} lone spots", xlabel="truth", ylabel="found")
        pull = (seen.error_px / np.maximum(seen.stated_px, 1e-9)).ravel()
        right.hist(pull, bins=np.linspace(-5, 5, 61), density=True, color="#3a9bdc", label="measured")
        x = np.linspace(-5, 5, 201)
        right.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1, label="as stated")
        error_nm = float(np.sqrt(np.mean(seen.error_px**2))) * pixel_nm
        right.set(title=f"error of places: {error_nm:.1f} nm rms", xlabel="error over its standard error", yticks=[])
        right.legend(frameon=False)
    figure.savefig(path, dpi=110)
    return path
