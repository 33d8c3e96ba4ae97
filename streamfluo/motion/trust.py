"""What a registered frame must show for its shift to be trusted."""

from __future__ import annotations

from typing import NamedTuple

from .kernels.agreement import Evidence

TRUSTED_GAIN = (0.5, 2.5)  # contrast of a frame relative to the usual one; a frame at a wrong shift has less
# In half to a fifth of the usual light a frame is bright enough where its gain is this many standard errors, and at its
# place where blocks agree and lack nothing: good frames where the light flickers by 30 % had .98, .02 and 85 or more.
DIM_GAIN, DIM_AGREEMENT, DIM_DEFICIT, DIM_SIGNIFICANCE = 0.2, 0.95, 0.05, 20.0
CLEAR_GAIN = 0.75  # of the usual one; below it the coarse search runs as well
# Of the blocks that could contradict, where the gain is above CLEAR_GAIN, and below. Of 960 frames of other scenes and
# other places a tenth of those above had more than .46; where every cell fires thrice a second, half of all have .7.
MIN_AGREEMENT = (0.55, 0.85)
# Half of such frames have .55, 1 % of good ones .1, and .39 where cells that the template shows lit are dark.
MAX_DEFICIT = (0.5, 0.25)
# Structure of the template that a frame lacks, by what it has: half covered .4 to 1.5 where photons are few, of bursts
# in all cells .2; where the gain is below CLEAR_GAIN, at a wrong place of unequal beads .12 to 1, at the right one .03.
MAX_MISFIT = (0.4, 0.1)
MIN_SIGNIFICANCE = 6.0  # of the gain: what has no contrast has no place
# Standard error of a shift along its worse axis beyond which it may be off by a pixel: as measured, against a template
# of fewer than YOUNG_FRAMES, and after the filter.
MEASURED_PX, YOUNG_PX, FILTERED_PX, YOUNG_FRAMES = 0.45, 0.3, 0.25, 50
FIRST_FRAMES = 8  # of a template after one that was not confirmed: at .4 photons 16 frames were valid against 1 to 3


class Age(NamedTuple):
    """How far a template is: how many frames it has, whether it is anchored, whether it has settled.

    `again`: one before it was not confirmed by the frames that followed it.
    """

    frames: int
    anchored: bool
    settled: bool
    again: bool = False


def plausible(gain: float, evidence: Evidence, age: Age) -> bool:
    """Return whether a frame of `gain` times the usual contrast is one of this scene at this place."""
    if gain < TRUSTED_GAIN[0]:
        like = evidence.agreement >= DIM_AGREEMENT and evidence.deficit <= DIM_DEFICIT
        return bool(gain >= DIM_GAIN and age.settled and like and evidence.significance >= DIM_SIGNIFICANCE)
    doubtful = gain < CLEAR_GAIN
    # Before the anchor the template may still hold blank frames, so that any frame has more contrast.
    usual = not age.anchored or gain <= TRUSTED_GAIN[1]
    agreed = evidence.agreement >= MIN_AGREEMENT[doubtful] and evidence.significance >= MIN_SIGNIFICANCE
    shown = evidence.deficit <= MAX_DEFICIT[doubtful] or not (doubtful or age.settled)
    return bool(usual and agreed and shown)


def explained(doubtful: bool, misfit: float) -> bool:
    """Return whether a frame has the structure of the template; doubtful: its gain may be that of another place."""
    return misfit <= MAX_MISFIT[doubtful]


def precise(measured_px: float, filtered_px: float, age: Age) -> bool:
    """Return whether a shift with these standard errors, as measured and after the filter, is known to a pixel.

    A young template's noise passes for information, and the filter averages that. Where frames show next to nothing,
    templates of one frame after another are tried, and a frame is like one of them by chance.
    """
    if age.again and age.frames < FIRST_FRAMES:
        return False
    return measured_px <= (YOUNG_PX if age.frames < YOUNG_FRAMES else MEASURED_PX) and filtered_px <= FILTERED_PX
