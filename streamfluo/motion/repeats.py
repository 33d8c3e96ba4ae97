"""Where a template repeats itself: of a regular lattice the shift is known up to a period."""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.ndimage as ndi

from ..core.state import State, require_array, require_int
from ..pixels.kernels.seen import Window
from .kernels.frame_rows import BLOCK_PX
from .kernels.gauss_newton import Frame, read_only
from .measurement import Tried
from .patches import PatchGrid
from .search import transform_size
from .template import Template

LIKE = 0.5  # correlation of the template's slopes with themselves elsewhere, from which on that place is looked at
PLACES = 8  # the nearest ones; others lie a period further, where frames come to rarely
STEPS, CLOSE_PX = 6, 0.1
# A place where the template's slopes are the same to SAME cannot be told from the right one: activity, fading and
# interpolation move them by as much. Elsewhere the log-likelihood of the right place exceeds the other's by SEPARATE on
# average, 5 of its standard deviations.
SAME, SEPARATE = 0.98, 50.0
FAINT, MOST_GAIN = 60 * SEPARATE, 0.9
SETTLED_FRAMES = 64  # until then a template is examined when it has doubled, later when it is four times as old


class Repeats:
    """Places where the template is like itself (n, 5): displacement (y, x) [px], similarity, separation and gain.

    Similarity: correlation of the slopes there with those here; shading, of which a shift shows nothing, has none.
    Separation: by how much the log-likelihood of a frame of gain 1 is larger at its place than there. Gain: that of the
    template itself there. Found by the autocorrelation of the slopes, then by Gauss–Newton steps of the template
    against itself. Cost: five rfft2 of the frame's size, nine times in the first 1024 frames.
    """

    def __init__(self, shape: tuple[int, int], grid: PatchGrid, max_shift_px: tuple[float, float]) -> None:
        self._grid, self._elsewhere = grid, np.zeros(shape, np.float32)
        self._places = np.zeros((PLACES, 5))
        self._count = self._next = 0
        self.look_within(max_shift_px)

    def look_within(self, max_shift_px: tuple[float, float]) -> None:
        """From the next examination on look for places that two shifts within these can have between them."""
        shape = self._elsewhere.shape
        sides = zip(shape, max_shift_px, strict=True)
        self._reach = tuple(min(int(2 * most) + 2, side - 1) for side, most in sides)
        self._size = transform_size((shape[0], shape[1]), self._reach)

    @property
    def places(self) -> np.ndarray:
        """The places (n, 5)."""
        return self._places[: self._count]

    def renew(self, template: Template) -> None:
        """Examine the template where the template has grown."""
        if not template.established() or template.frames < self._next:
            return
        self._next = template.frames * (2 if template.frames < SETTLED_FRAMES else 4)
        template = template.here()
        found = [self._match(template, start) for start in self._candidates(template)]
        each = [place for place in found if place is not None]
        self._count = len(each)
        self._places[: self._count] = np.reshape(each, (-1, 5))

    def undetermined(self, gain: float) -> bool:
        """Whether a place that two shifts within max_shift_px can have between them is as good, within noise.

        gain: the frame's.
        """
        if not self._count:
            return False
        similarity, separation = self.places[:, 2], self.places[:, 3]
        return bool(((similarity >= SAME) | (gain**2 * separation < SEPARATE)).any())

    @property
    def clear_gain(self) -> float:
        """The gain, relative to the usual one, below which a frame may be at a place like the right one; else 0.

        Where both have about the same gain, as in strong shading, it tells nothing; where much light separates the two,
        the structure that the frame lacks tells (`like_gain`).
        """
        if not self._count:
            return 0.0
        gain = _largest(self.places[self.places[:, 3] < FAINT, 4])
        return (1 + gain) / 2 if 0 < gain <= MOST_GAIN else 0.0

    @property
    def like_gain(self) -> float:
        """The same whatever light separates the two places, and where both have the same gain, as in shading."""
        if not self._count:
            return 0.0
        gain = _largest(self.places[:, 4])
        return (1 + gain) / 2 if gain > 0 else 0.0

    @property
    def period_px(self) -> float:
        """The least distance [px] at which the template is the same, 0 where there is none."""
        if not self._count:
            return 0.0
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
        """Displacements (n, 2) [px] of a half plane, the nearest first, where the slopes correlate with themselves."""
        like = _self_correlation(template.slopes, self._size, self._reach) / max(template.slope_share, 0.1)
        peak = like == ndi.maximum_filter(like, 3, mode="constant", cval=np.inf)
        at = np.argwhere(peak & (like > LIKE))
        away = at - self._reach
        half = (away[:, 0] > 0) | ((away[:, 0] == 0) & (away[:, 1] > 0))
        nearest = np.argsort((away[half] ** 2).sum(1), kind="stable")[:PLACES]
        places = [a - self._reach + _vertex(like, *a) for a in at[half][nearest]]
        return np.reshape(places, (-1, 2))

    def _match(self, template: Template, start_px: np.ndarray) -> tuple[float, ...] | None:
        """The place near a displacement (2,) [px] at which the template fits itself; None where there is none."""
        shifts, here = np.zeros_like(template.walked_px) + start_px, np.zeros_like(template.walked_px)
        image = Frame(read_only(template.image), (0, template.image.shape[0], 0, template.image.shape[1]))
        for _ in range(STEPS):  # interpolated there: between pixels slopes are too small
            window, kept = self._grid.resample(image, shifts, self._elsewhere)
            step = template.measure(Frame(read_only(self._elsewhere), window), here, Tried())
            if not np.isfinite(step.distance_px):
                return None
            if step.distance_px < CLOSE_PX:
                y, x = self._grid.mean(shifts)
                similarity, separation = _compare(template, self._elsewhere, window, kept)
                near = similarity > LIKE and np.hypot(y - start_px[0], x - start_px[1]) < 2
                return (y, x, similarity, separation, step.gain) if near else None
            shifts += self._grid.mean(step.patches_px)
        return None


def _compare(template: Template, image: np.ndarray, window: Window, kept: float) -> tuple[float, float]:
    """Return similarity and separation of the template and an image of it (y, x), noise taken out of both.

    `window`: where the image is known; kept: the fraction of a pixel's noise variance that it has.
    """
    top, bottom, left, right = window
    area = np.s_[top:bottom, left:right]
    here, there = template.image[area], image[area]
    (vy, vx), own, common = template.slopes[:, *area], np.gradient(here), np.gradient(there)
    like, most = (float((vy * gy + vx * gx).sum(dtype=float)) for gy, gx in (common, own))
    difference = here - there
    difference -= ndi.uniform_filter(difference, BLOCK_PX)
    squares = float((difference**2 / template.noise.at(here)).sum(dtype=float))
    noise = difference.size * (1 + kept) / template.effective_frames
    return min(1.0, like / max(most * template.slope_share, 1e-9)), max(0.0, squares - noise) / 2


def _self_correlation(images: np.ndarray, size: tuple[int, ...], reach: tuple[int, ...]) -> np.ndarray:
    """Correlation of two images (2, y, x) with themselves displaced by ± reach (y, x), over the pixels both have.

    The squares of those pixels are taken as a product of what rows and columns have.
    """
    power = np.zeros((size[0], size[1] // 2 + 1), np.complex64)
    for image in images:
        spectrum = scipy.fft.rfft2(image, size)
        power += spectrum * spectrum.conj()
    y, x = np.arange(reach[0] + 1)[:, None], np.arange(-reach[1], reach[1] + 1)
    product = scipy.fft.irfft2(power, size)[y, x]
    rows, columns = np.einsum("nyx,nyx->y", images, images), np.einsum("nyx,nyx->x", images, images)
    energy = max(float(rows.sum(dtype=float)), 1e-30)
    like = product / (energy * _left(rows / energy, y) * _left(columns / energy, np.abs(x)))
    return np.concatenate([like[:0:-1, ::-1], like])


def _left(parts: np.ndarray, displaced: np.ndarray) -> np.ndarray:
    """What is left of parts (n,) that sum to 1 without the last, and the first, `displaced`: the geometric mean."""
    before = np.concatenate([[0.0], np.cumsum(parts, dtype=float)])
    left: np.ndarray = np.sqrt(np.maximum(before[len(parts) - displaced] * (1 - before[displaced]), 1e-6))
    return left


def _largest(values: np.ndarray) -> float:
    return float(values.max(initial=0.0))


def _vertex(values: np.ndarray, y: int, x: int) -> np.ndarray:
    """Where the parabolas through a maximum and its neighbours peak (2,), against the maximum."""
    offset = np.zeros(2)
    for axis, (at, size) in enumerate(zip((y, x), values.shape, strict=True)):
        if 0 < at < size - 1:
            line = values[at - 1 : at + 2, x] if axis == 0 else values[y, at - 1 : at + 2]
            bend = line[0] - 2 * line[1] + line[2]
            offset[axis] = 0.5 * (line[0] - line[2]) / bend if bend < 0 else 0.0
    return np.clip(offset, -0.5, 0.5)
