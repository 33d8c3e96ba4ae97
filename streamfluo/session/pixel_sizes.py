"""The side of a pixel of what a step sees and gives, where the side of the frames' pixels was stated."""

from __future__ import annotations

from collections.abc import Sequence

from .reader import Session
from .recorded_step import SessionStep


def pixel_of(session: Session, step: SessionStep, pixel_um: float | None) -> float | None:
    """Return the side of a pixel of what a step sees; of the stated one, by how many pixels lie along the frames."""
    if pixel_um is None:
        return step.sees.pixel_um
    known = session.spec.pixel_um, step.sees.pixel_um
    if known[0] and known[1]:
        return pixel_um * known[1] / known[0]
    return pixel_of_shape(step.sees.shape, session.spec.shape, pixel_um)


def pixel_of_shape(shape: Sequence[int], frames: tuple[int, int], pixel_um: float | None) -> float | None:
    """Return the side of a pixel of an image (…, y, x) of frames (y, x); None where it is no finer or coarser grid.

    Grids n times as fine have n pixels for each one, or one between any two where only centres are kept.
    """
    if pixel_um is None:
        return None
    finer = [round(side / length) for side, length in zip(shape[-2:], frames, strict=True)]
    if finer[0] == finer[1] >= 1:
        fits = all(0 <= n * f - side < 2 * f for side, n, f in zip(shape[-2:], frames, finer, strict=True))
        return pixel_um / finer[0] if fits or finer[0] == 1 else None
    coarser = [round(length / side) for side, length in zip(shape[-2:], frames, strict=True)]
    return pixel_um * coarser[0] if coarser[0] == coarser[1] > 1 else None
