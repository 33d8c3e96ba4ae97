"""The figures of a session: what each step says it measured, and what raw frames and the camera say beside them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.errors import StreamfluoError
from ..report.recorded import Part, ReadStep
from ..report.steps import operator_or_none
from ..report.summary import some_frames
from ..session.reader import Session
from .entry import Measured

FIGURES = 24  # of one step
CAMERA, FRAMES = "camera", "frames"  # the steps that what the spec states, and raw frames show, stands under
STATED = ("gain_e_per_adu", "offset_adu", "read_noise_e", "qe", "excess_noise")
log = logging.getLogger(__name__)


def measured(session: Session, parts: Sequence[Part]) -> list[Measured]:
    """Return the figures of a session, those of steps in the chain's order."""
    found = [*_camera(session), *_frames(session, parts)]
    for part in parts:
        for step in part.steps:
            name = f"{part.name}/{step.id}" if part.name else step.id
            found += [Measured(name, step.kind, key, value) for key, value in _of_step(step).items()]
    return found


def _of_step(step: ReadStep) -> dict[str, float]:
    """What a step measured, as its operator says, else the numbers that it declares; without what is not known."""
    operator = operator_or_none(step.kind)
    said: Mapping[str, float] | None = None
    if operator is not None:
        try:
            with np.errstate(all="ignore"):
                said = operator.measures(step)
        except Exception as error:  # a package's, or a session that another version wrote
            log.info("%s: step %r: %s: %s", step.session.path, step.id, type(error).__name__, error)
    if said is None:
        said = _declared(step)
    finite = {str(name)[:64]: float(value) for name, value in said.items() if np.isfinite(value)}
    return dict(list(finite.items())[:FIGURES])


def _declared(step: ReadStep) -> dict[str, float]:
    numbers = (given.name for given in step.session.steps[step.id].gives if given.kind == "snapshot" and not given.dims)
    arrays = {name: step.snapshot[name] for name in numbers if name in step.snapshot}
    return {name: float(a) for name, a in arrays.items() if not a.ndim and a.dtype.kind in "iufb"}


def _camera(session: Session) -> list[Measured]:
    """What was stated of the camera, of maps the median."""
    known = dict(session.spec.camera.known()) if session.spec.camera is not None else {}
    medians = {name: float(np.nanmedian(known[name])) for name in STATED if known.get(name) is not None}
    return [Measured(CAMERA, CAMERA, name, value) for name, value in medians.items() if np.isfinite(value)]


def _frames(session: Session, parts: Sequence[Part]) -> list[Measured]:
    """Mean, saturation and bleaching by some raw frames; nothing where raw frames lie elsewhere, which costs a read."""
    found = []
    for part in parts if session.has_journal else ():
        try:
            pixels = [np.asarray(frame, np.float32) for _, frame in some_frames(part.session)]
        except (StreamfluoError, OSError) as error:
            log.info("%s: %s", session.path, error)
            continue
        if not pixels:
            continue
        name = f"{part.name}/{FRAMES}" if part.name else FRAMES
        found += [Measured(name, FRAMES, key, value) for key, value in of_frames(part.session, pixels).items()]
    return found


def of_frames(session: Session, pixels: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the mean of frames (n of (y, x)), the share that is saturated, what bleached from their first quarter on.

    Both of the latter where the camera's saturation and offset are known.
    """
    camera = session.spec.camera
    stated = {name: float(np.nanmedian(value)) for name, value in camera.known().items()} if camera else {}
    means = np.array([float(np.nanmean(frame)) if np.isfinite(frame).any() else np.nan for frame in pixels])
    found = {"mean_adu": float(np.nanmean(means))} if np.isfinite(means).any() else {}
    if (most := stated.get("saturation_adu")) is not None:
        found["saturated_share"] = float(np.mean([np.mean(frame >= most) for frame in pixels]))
    quarter = len(means) // 4
    offset = stated.get("offset_adu")
    if quarter and offset is not None and np.isfinite(means).all():
        first, last = float(means[:quarter].mean()) - offset, float(means[-quarter:].mean()) - offset
        if first > 0:
            found["bleaching"] = 1 - last / first
    return found
