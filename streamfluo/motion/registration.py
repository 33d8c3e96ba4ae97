"""The registration of frames: the shift of each against the template, and what speaks for it."""

from __future__ import annotations

import math

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_finite, require_int
from .kernels.gauss_newton import WIDE, Frame
from .measurement import Measurement, Tried
from .patches import PatchGrid
from .repeats import Repeats
from .search import LostScene
from .shift_prior import ShiftFilter
from .template import NEAR_PX, Template
from .trust import CLEAR_GAIN, TRUSTED_GAIN, Age, explained, plausible, precise

GAIN_TOLERANCE = 0.15  # a gain further off is a step of its own
CLEAR_SIGMA = 2.0  # of noise: what a gain may leave of the template's contrast, for few residuals to be clipped
STEPS = 8
USUAL_RATE = 0.01  # a frame, of what is usual: light that fades, not light that is switched
MIN_SEEN = 0.25
MIN_FITTING = 0.7  # of the pixels seen: where more are clipped as outliers, nothing is known of the rest
MISSED_FRAMES = 20  # and four for each one registered: a template of a beginning that is not confirmed begins again


class Registration:
    """Measures shifts against a template, one frame after the other.

    `patches_px` (py, px, 2) [px]: the last shifts; `determined`: whether those of the last frame are known to a pixel;
    `light`: how its light differs from the template's. `anchored_at`: after how many frames the template is anchored;
    a `frozen` one does not begin again.
    """

    def __init__(
        self, template: Template, grid: PatchGrid, max_px: tuple[float, float], anchored_at: int, frozen: bool
    ) -> None:
        shape = template.image.shape
        self._template, self._grid, self._max_px, self.frozen = template, grid, max_px, frozen
        self.anchored_at = anchored_at
        self._search = template.coarse_search(max_px)
        self._lost = LostScene(shape)
        self._shift_filter = ShiftFilter()
        self.patches_px = np.zeros((*grid.shape, 2))
        self._gain = self._usual_gain = 1.0
        self._repeats = Repeats(shape, grid, max_px)
        self.determined, self.light = True, template.own_light
        self._missed, self._again = 0, False  # frames not registered before the anchor; no frames confirmed a template
        self._age = Age(0, False, False)  # when it measured last

    @property
    def period_px(self) -> float:
        """The least distance [px] at which the template is the same, 0 where there is none."""
        return self._repeats.period_px

    def look_within(self, max_px: tuple[float, float]) -> None:
        """From now on measure shifts within these (y, x) [px]."""
        self._max_px = max_px
        self._search.look_within(max_px)
        self._repeats.look_within(max_px)

    def freeze(self) -> None:
        """Measure against the template as it is now, whose brightness is 1, and never begin another one."""
        if not self.frozen:
            self._gain = self._usual_gain = 1.0
            self._missed, self._again = 0, False
            self._lost.forget()
            self._repeats.forget()
            self.examine()
        self.frozen = True

    def examine(self) -> None:
        """Examine whether the template repeats itself, where it has grown since it was examined last."""
        self._repeats.renew(self._template)

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        mine: State = {"gain": self._gain, "usual_gain": self._usual_gain, "again": int(self._again)}
        return {
            **mine,
            "patches_px": self.patches_px.copy(),
            "anchored_at": self.anchored_at,
            "missed": self._missed,
            **self._lost.state(),
            **self._shift_filter.state(),
            **self._repeats.state(),
        }

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self.patches_px = require_finite(state, "patches_px", self.patches_px, "motion")
        self._gain, self._usual_gain = _require_gain(state, "gain"), _require_gain(state, "usual_gain")
        self.anchored_at = require_int(state, "anchored_at", "motion")
        self._missed = require_int(state, "missed", "motion")
        self._again = bool(require_int(state, "again", "motion"))
        self._lost.restore(state)
        self._shift_filter.restore(state)
        self._repeats.restore(state)

    def register(self, registered: Frame, restart_frames: int) -> tuple[bool, bool]:
        """Measure a frame's shift; returns whether it is trusted, and whether a new template begins with it.

        `determined` says whether the shift is known to a pixel; it is followed where it is not, so that the template
        becomes better.
        """
        template, self.determined = self._template, True
        if not template.established():
            return not template.frames, False
        self.examine()
        last = self.patches_px - template.walked_px
        found = self._gauss_newton(registered, last)
        if found is None or found.gain < max(CLEAR_GAIN, self._repeats.clear_gain) * self._usual_gain:
            most_gain = TRUSTED_GAIN[1] * self._usual_gain
            start = last - self._grid.mean(last) + self._search.find(registered.pixels, template, most_gain)
            other = self._gauss_newton(registered, start)
            if other is not None and other.gain < CLEAR_GAIN * self._usual_gain:
                other = None  # a place elsewhere that is a little like the template
            found = max((f for f in (found, other) if f is not None), key=lambda f: f.gain, default=None)
        if found is not None:
            self._lost.forget()
            self.patches_px, self._gain = found.patches_px + template.walked_px, found.gain
            self._usual_gain += USUAL_RATE * (found.gain - self._usual_gain)
            self.light = found.light
            mean_px, information = self._grid.mean(self.patches_px).copy(), found.gain**2 * template.information
            self.patches_px += self._shift_filter.update(mean_px, information) - mean_px
            self.determined = self._is_determined(found)
            return True, False
        self._shift_filter.predict()
        self._lost.add(self._search.lost())
        self._missed += template.frames < self.anchored_at
        unconfirmed = self._missed > MISSED_FRAMES + 4 * template.frames
        if (self._lost.frames < restart_frames and not unconfirmed) or self.frozen:
            return False, False
        self._lost.forget()
        template.forget()
        self._repeats.forget()
        self._missed, self._again = 0, unconfirmed
        self._shift_filter.reset()
        self.patches_px = np.zeros_like(self.patches_px)
        self._gain = self._usual_gain = 1.0
        return True, True

    def _gauss_newton(self, frame: Frame, patches_px: np.ndarray) -> Measurement | None:
        """Iterate from the shifts of patches until the step is short; None where it is not, or is not trusted."""
        tried, widened = Tried(self._gain, usual=self._usual_gain), False
        tolerance = self._usual_gain * min(GAIN_TOLERANCE, CLEAR_SIGMA / max(self._template.contrast_sigma, 1.0))
        for _ in range(STEPS):
            step = self._template.measure(frame, patches_px, tried, self.patches_px)
            if not (math.isfinite(step.distance_px) and step.evidence.seen >= MIN_SEEN):
                return None
            patches_px, same_gain = step.patches_px, abs(step.gain - tried.gain) <= tolerance
            near = same_gain and step.distance_px <= NEAR_PX
            fits = same_gain and step.evidence.fitting >= MIN_FITTING
            if near and tried.reach == 1 and (fits or widened):
                return step if fits and self._trusted(step, frame) else None
            if not same_gain:
                least, most = TRUSTED_GAIN[0] / 2 * self._usual_gain, 1.1 * TRUSTED_GAIN[1] * self._usual_gain
                tried = tried._replace(gain=max(least, min(most, step.gain)))
            tried = tried._replace(reach=1.0 if near or fits else WIDE)
            widened |= tried.reach == WIDE
        return None

    def _trusted(self, found: Measurement, frame: Frame) -> bool:
        (y_px, x_px), gain = self._grid.mean(found.patches_px).tolist(), found.gain / self._usual_gain
        within = abs(y_px) <= self._max_px[0] and abs(x_px) <= self._max_px[1]
        self._age = self._age_now()  # of this frame
        if not (within and plausible(gain, found.evidence, self._age)):
            return False
        return explained(gain < max(CLEAR_GAIN, self._repeats.like_gain), self._template.misfit(frame, found))

    def _is_determined(self, found: Measurement) -> bool:
        """Whether a shift is known to a pixel, and no other place is as good."""
        measured_px = 1 / (found.gain * math.sqrt(max(self._template.sure_information, 1e-9)))
        alike = found.gain < self._repeats.clear_gain * self._usual_gain
        known = precise(measured_px, self._shift_filter.error_px, self._age)
        return known and not (alike or self._repeats.undetermined(found.gain))

    def _age_now(self) -> Age:
        template = self._template
        return Age(template.frames, template.frames >= self.anchored_at, template.settled, self._again)


def _require_gain(state: State, name: str) -> float:
    gain = state.get(name)
    if not (isinstance(gain, float) and 0 < gain < math.inf):
        raise StateError(f"motion: state {name!r} must be a positive number, found {gain!r}")
    return gain
