"""Which job a recording is for, by what fluctuates in it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from .cell_size import DOMINATED, CellSize
from .fluctuations import SHOWS_SD
from .light import Noise
from .seen_spots import SeenSpots
from .shifts import Shifts

CELLS_FROM_PX = 5.0  # diameter; a PSF on a camera that samples it has 2 to 4 px
ASYMMETRIC, SURE_ASYMMETRY = 0.1, 0.5  # skewness of increments: transients .2 to 2, blinking 0, of few places to .2
BRIGHT = 100.0  # light of a spot over the noise of a pixel: molecules one by one, 160 and more; SOFI 75
SHORT_FRAMES, SHORT_BRIGHT, SHORT_SPOTS = 30, 40.0, 8.0
STILL_PX = 0.1
PSF_PIXEL_UM = 0.25  # pixels that sample a PSF; a cell body has 10 µm

Kind = Literal["calcium_2p", "calcium_1p", "sofi", "spots", "calibrate", ""]


class Job(NamedTuple):
    """The job and why, in one sentence; of an empty one why it cannot be told."""

    kind: Kind
    why: str


class Evidence(NamedTuple):
    """What the job is told by; `z`: of fluctuations that last, in standard errors; `pixel_um`: None where unknown.

    `blank`: why frames say nothing at all.
    """

    frames: int
    z: float
    size: CellSize
    asymmetry: float
    spots: SeenSpots
    shifts: Shifts
    noise: Noise
    pixel_um: float | None
    blank: str = ""


def job_of(seen: Evidence) -> Job:
    """Return which job the recording is for, as far as it can be told."""
    if seen.blank:
        return Job("", seen.blank)
    if seen.frames < SHORT_FRAMES:
        return _of_few_frames(seen)
    lasting = seen.z > SHOWS_SD
    diameter = seen.size.diameter_px if not seen.size.reason else seen.size.by_field_px
    stable = seen.asymmetry > ASYMMETRIC and not seen.shifts.reason  # blinking leaves no structure to register
    if lasting and (seen.asymmetry > SURE_ASYMMETRY or stable):
        return _calcium(seen, f"fluorescence rises faster than it decays (skewness of increments {seen.asymmetry:.2f})")
    if seen.spots.brightness > BRIGHT and seen.spots.per_frame > 0.3 and not _large(diameter, seen):
        return _spots(seen)
    if lasting and _large(diameter, seen):
        return _calcium(seen, f"what fluctuates is {diameter:.1f} px wide")
    if lasting and math.isfinite(diameter):
        return Job(
            "sofi",
            f"spots {diameter:.1f} px wide go on as fast as off (skewness of increments {seen.asymmetry:.2f}), "
            "as blinking fluorophores do; single molecules do not stand out in a frame",
        )
    if lasting:
        return Job("", "something fluctuates beyond noise, but neither its size nor its course can be measured")
    if not seen.noise.reason and not max(seen.shifts.rms_px) > STILL_PX:
        return Job("calibrate", "nothing fluctuates beyond noise and nothing moves: a still field under steady light")
    return Job("", f"nothing fluctuates beyond noise ({seen.z:.1f} standard errors of the covariance of neighbours)")


def _large(diameter: float, seen: Evidence) -> bool:
    """Whether something is as large as cells are."""
    sampled_finely = seen.pixel_um is not None and seen.pixel_um < PSF_PIXEL_UM
    measured = not (seen.size.reason and seen.shifts.reason)  # neither agrees on a size nor keeps a structure: blinking
    return seen.z > SHOWS_SD and diameter >= CELLS_FROM_PX and measured and not sampled_finely


def _calcium(seen: Evidence, why: str) -> Job:
    broad = seen.size.broad
    if broad > DOMINATED:
        return Job("calcium_1p", f"{why}; {broad:.0%} of the covariance is broader than cells: out-of-focus light")
    return Job("calcium_2p", f"{why}; {max(broad, 0):.0%} of the covariance is broader than cells")


def _spots(seen: Evidence) -> Job:
    spots = seen.spots
    said = f"{spots.per_frame:.1f} spots a frame, {spots.brightness:.0f} times the noise of a pixel bright"
    if math.isnan(spots.stay):
        return Job("spots", f"{said}; too few frames to tell whether they stay")
    stay = "stay where they are" if spots.stay > 0.5 else "come and go"
    return Job("spots", f"{said}, {stay} ({spots.stay:.0%} are there again)")


def _of_few_frames(seen: Evidence) -> Job:
    if seen.spots.brightness > SHORT_BRIGHT and seen.spots.per_frame >= SHORT_SPOTS:
        return _spots(seen)
    return Job("", f"{seen.frames} frame{'' if seen.frames == 1 else 's'}, {SHORT_FRAMES} are needed")
