"""Where a template repeats itself: of a regular lattice the shift is known up to a period."""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.ndimage as ndi

from ..core.state import State, require_array, require_int
from .kernels.gauss_newton import Frame, read_only
from .measurement import Tried
from .patches import PatchGrid
from .search import transform_size
from .template import Template

LIKE = 0.5  # correlation of the template with itself elsewhere, from which on that place is looked at
PLACES = 8  # the nearest ones; others lie a period further, where frames come to rarely
STEPS, CLOSE_PX = 6, 0.1
# A place where the gain of the template itself is above SAME cannot be told from the right one: activity, fading and
# interpolation move gains by as much. Below, the two differ by (1 − gain) significance² in twice the log-likelihood;
# a normal deviate of 5 is (1 − gain) significance² = 50.
SAME, TOLD = 0.95, 50.0
MOST_STEP = 400  # frames until a template is looked at again that has not doubled


class Repeats:
    """Places where the template is like itself: `places` (n, 3), displacement (y, x) [px] and gain.

    A frame there has that gain against the template, so that a frame at the right place cannot be told from one
    displaced by it. Found by the autocorrelation of the template, then by Gauss–Newton steps of it against itself. Cost:
    two rfft2 of the frame's size, 11 times in the first 1000 frames and every 400 later.
    """

    def __init__(self, shape: tuple[int, int], grid: PatchGrid, max_shift_px: tuple[float, float]) -> None:
        self._grid, self._elsewhere = grid, np.zeros(shape, np.float32)
        sides = zip(shape, max_shift_px, strict=True)
        self._reach = tuple(min(int(2 * most) + 2, side - 1) for side, most in sides)
        self._size = transform_size(shape, self._reach)
        self._places = np.zeros((PLACES, 3))
        self._count = self._next = 0

    @property
    def places(self) -> np.ndarray:
        """The displacements and gains (n, 3)."""
        return self._places[: self._count]

    def renew(self, template: Template) -> None:
        """Look again, where the template has doubled since, or is 400 frames older."""
        if not template.established() or template.frames < self._next:
            return
        self._next = template.frames + max(1, min(MOST_STEP, template.frames))
        found = [self._match(template, start) for start in self._candidates(template)]
        each = [place for place in found if place is not None]
        self._count = len(each)
        self._places[: self._count] = np.reshape(each, (-1, 3))

    def undetermined(self, significance: float) -> bool:
        """Whether a place that two shifts within max_shift_px can have between them is as good, within noise."""
        best = self._best
        return best >= SAME or (best > 0 and (1 - best) * significance**2 < TOLD)

    @property
    def found(self) -> bool:
        """Whether there are any such places."""
        return self._count > 0

    @property
    def clear_gain(self) -> float:
        """The gain, relative to the usual one, below which a frame may be at a place like the right one."""
        return (1 + self._best) / 2

    @property
    def _best(self) -> float:
        return float(self.places[:, 2].max(initial=0.0))

    @property
    def period_px(self) -> float:
        """The least distance [px] at which the template is the same, 0 where there is none."""
        same = self.places[self.places[:, 2] >= SAME]
        return float(np.hypot(same[:, 0], same[:, 1]).min(initial=np.inf)) if len(same) else 0.0

    def forget(self) -> None:
        """Start anew: another template begins."""
        self._count = self._next = 0

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        return {"repeats": self._places.copy(), "repeats_count": self._count, "repeats_next": self._next}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._places[...] = require_array(state, "repeats", self._places, "motion")
        self._count, self._next = (require_int(state, f"repeats_{name}", "motion") for name in ("count", "next"))

    def _candidates(self, template: Template) -> np.ndarray:
        """Displacements (n, 2) [px] of one half plane, the nearest first, where the template correlates with itself."""
        like = _self_correlation(template.structure, self._size, self._reach) / max(template.contrast_share, 0.1)
        peak = like == ndi.maximum_filter(like, 3, mode="constant", cval=np.inf)
        at = np.argwhere(peak & (like > LIKE))
        away = at - self._reach
        half = (away[:, 0] > 0) | ((away[:, 0] == 0) & (away[:, 1] > 0))
        nearest = np.argsort((away[half] ** 2).sum(1), kind="stable")[:PLACES]
        places = [a - self._reach + _vertex(like, *a) for a in at[half][nearest]]
        return np.reshape(places, (-1, 2))

    def _match(self, template: Template, start_px: np.ndarray) -> tuple[float, float, float] | None:
        """The place near a displacement (2,) [px] at which the template fits itself, and its gain there."""
        shifts, here = np.zeros_like(template.walked_px) + start_px, np.zeros_like(template.walked_px)
        image = Frame(read_only(template.image), (0, template.image.shape[0], 0, template.image.shape[1]))
        for _ in range(STEPS):  # interpolated there: a gain read between pixels is too small
            window, _ = self._grid.resample(image, shifts, self._elsewhere)
            step = template.measure(Frame(read_only(self._elsewhere), window), here, Tried())
            if not (np.isfinite(step.distance_px) and step.gain > LIKE):
                return None
            shifts += self._grid.mean(step.patches_px)
            y, x = self._grid.mean(shifts)
            if step.distance_px < CLOSE_PX:
                return (y, x, min(1.0, step.gain)) if np.hypot(y - start_px[0], x - start_px[1]) < 2 else None
        return None


def _self_correlation(image: np.ndarray, size: tuple[int, ...], reach: tuple[int, ...]) -> np.ndarray:
    """Correlation of an image (y, x) with itself displaced by ± reach (y, x), over the pixels that both have."""
    spectrum = scipy.fft.rfft2(image, size)
    y, x = np.arange(reach[0] + 1)[:, None], np.arange(-reach[1], reach[1] + 1)
    product = scipy.fft.irfft2(spectrum.real**2 + spectrum.imag**2, size)[y, x]
    energy = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    energy[1:, 1:] = np.square(image, dtype=float).cumsum(0).cumsum(1)
    height, width = image.shape
    here = _sums(energy, (0 * y, height - y), (np.maximum(0, -x), width - np.maximum(0, x)))
    there = _sums(energy, (y, height + 0 * y), (np.maximum(0, x), width - np.maximum(0, -x)))
    like = product / np.maximum(np.sqrt(here * there), 1e-30)
    return np.concatenate([like[:0:-1, ::-1], like])


def _sums(energy: np.ndarray, rows: tuple[np.ndarray, ...], columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """Sums of squares over rectangles, from the cumulative ones (y + 1, x + 1)."""
    (top, bottom), (left, right) = rows, columns
    sums: np.ndarray = energy[bottom, right] - energy[top, right] - energy[bottom, left] + energy[top, left]
    return sums


def _vertex(values: np.ndarray, y: int, x: int) -> np.ndarray:
    """Where the parabolas through a maximum and its neighbours peak (2,), against the maximum."""
    offset = np.zeros(2)
    for axis, (at, size) in enumerate(zip((y, x), values.shape, strict=True)):
        if 0 < at < size - 1:
            line = values[at - 1 : at + 2, x] if axis == 0 else values[y, at - 1 : at + 2]
            bend = line[0] - 2 * line[1] + line[2]
            offset[axis] = 0.5 * (line[0] - line[2]) / bend if bend < 0 else 0.0
    return np.clip(offset, -0.5, 0.5)
