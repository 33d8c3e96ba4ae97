"""All that was measured of a sample."""

from __future__ import annotations

from typing import NamedTuple

from .cell_size import CellSize
from .fluctuations import Autocorrelation
from .job import Evidence, Job
from .sample import Sample
from .shifts import Shifts


class Seen(NamedTuple):
    """What was measured; `decay` [s] with the reason why it is undetermined, '' where it is not.

    `parts_px`: rms [px] of what patches move on their own.
    """

    sample: Sample
    shifts: Shifts
    field: Autocorrelation
    size: CellSize
    decay: tuple[float, str]
    parts_px: float
    job: Job
    evidence: Evidence
