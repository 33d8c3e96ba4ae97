"""The small picture of a session: of what its last steps present, else the mean of some raw frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from ..core.errors import StreamfluoError
from ..pixels.report import thumbnail
from ..report.recorded import Part, ReadStep
from ..report.steps import operator_or_none
from ..report.summary import some_frames
from ..session.reader import Session

SIDE_PX = 160
ALWAYS = ("mean", "background", "template")
log = logging.getLogger(__name__)


def preview_of(session: Session, parts: Sequence[Part]) -> bytes:
    """Return a PNG of at most 160 pixels a side; empty where there is nothing to see."""
    try:
        for image in _images(session, parts):
            if drawn := thumbnail(image, SIDE_PX):
                return drawn
    except (StreamfluoError, OSError, ValueError) as error:
        log.info("%s: no picture: %s", session.path, error)
    return b""


def _images(session: Session, parts: Sequence[Part]) -> Iterator[np.ndarray]:
    for part in parts:
        for step in reversed(part.steps):
            for name in (*_presented(step), *ALWAYS):
                found = step.snapshot.get(name)
                if found is not None and found.ndim == 2 and found.dtype.kind in "iufb" and min(found.shape) > 1:
                    yield found
    if session.has_journal:
        for part in parts:
            frames = [np.asarray(pixels, np.float32) for _, pixels in some_frames(part.session)]
            if frames:
                seen = np.isfinite(frames).sum(0)
                yield np.where(seen > 0, np.nansum(frames, 0) / np.maximum(seen, 1), np.nan)


def _presented(step: ReadStep) -> tuple[str, ...]:
    """The pictures that a step's operator shows first, as far as they are images of the frames."""
    operator = operator_or_none(step.kind)
    presents = operator.presents if operator is not None else None
    given = {g.name: g for g in step.session.steps[step.id].gives}
    names = presents.pictures if presents is not None else ()
    return tuple(name for name in names if name in given and given[name].dims[:1] not in (("id",), ("section",)))
