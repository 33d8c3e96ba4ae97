"""Looks at a recording and proposes a config, with its reasons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.source import Source
from ..core.spec import Spec
from .cell_size import HALF_WIDTH, ByField, CellSize, cell_size
from .decay import Transients, decay_s, transients
from .finding import Finding
from .fluctuations import SHOWS_SD, Autocorrelation, autocorrelation, fluctuations
from .job import Evidence, Job, job_of
from .light import noise, why_blank
from .proposal import config_text
from .reasons import reasons
from .sample import Sample, take_sample
from .seen import Seen
from .seen_spots import seen_spots
from .shifts import measure_shifts, parts_move_px
from .steps import proposed_steps

REACH_PX = 40
PSF_SIGMA_PX = (0.8, 2.5)  # of a PSF on a camera that samples it
USUAL_PSF_PX = 1.3


@dataclass(frozen=True)
class Advice:
    """What was found of a recording, and the config that is proposed; '' where the job cannot be told."""

    findings: tuple[Finding, ...]
    job: Job
    config: str

    def __getitem__(self, name: str) -> Finding:
        """Return a finding by its name. Raises KeyError for what was not found."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)


def advise(source: Source, spec: Spec | None = None) -> Advice:
    """Return advice on the source's recording; `spec` says what is known of it beyond what the source states.

    At most 1600 frames of the middle 256 × 256 px are looked at, in four runs spread over the recording.
    """
    sample = take_sample(source)
    if spec is not None:
        sample = sample.stating(spec)
    seen = look(sample)
    findings = reasons(seen)
    steps = proposed_steps(seen)
    text = config_text(steps, findings, source.series.source) if steps else ""
    return Advice(tuple(findings), seen.job, text)


def look(sample: Sample) -> Seen:
    """Measure all that is measured of a sample."""
    interval_s, runs = sample.spec.interval_s, sample.runs
    shifts = measure_shifts(sample)
    found = fluctuations(shifts.frames, runs, interval_s) if len(sample.pixels) > 1 else None
    unknown = ByField(math.nan, math.nan, False)
    nothing = CellSize(math.nan, (math.nan, math.nan), unknown, np.zeros((0, 2), int), "too few frames")
    field, size, courses = Autocorrelation(np.zeros(1), 0.0), nothing, Transients([], [], math.nan)
    if found is not None and len(found.pairs) > 1 and min(found.bins.shape[1:]) >= 16:
        field = autocorrelation(found, min(REACH_PX, min(found.bins.shape[1:]) // 2 - 1))
        if field.z > SHOWS_SD:
            size = cell_size(found, field)
        else:
            size = nothing._replace(reason="nothing fluctuates beyond noise")
        if len(size.places):
            sigma = size.likely_px / (2 * HALF_WIDTH)
            courses = transients(shifts.frames, runs, size.places + np.array(found.origin), sigma, 2 * found.step)
    spots = seen_spots(sample, _psf_px(size))
    shown = field.z, size, courses.asymmetry, spots, shifts
    evidence = Evidence(len(sample.pixels), *shown, noise(sample), sample.spec.pixel_um, why_blank(sample))
    job = job_of(evidence)
    parts = parts_move_px(sample) if job.kind.startswith("calcium") and not shifts.reason else math.nan
    decay = (math.nan, "the frame interval is unknown; give --set source.interval_s=…")
    if interval_s is not None:
        decay = decay_s(courses, interval_s)
    return Seen(sample, shifts, field, size, decay, parts, job, evidence)


def _psf_px(size: CellSize) -> float:
    diameters: Sequence[float] = (size.diameter_px, size.by_field_px)
    sigmas = [d / 2.355 for d in diameters if math.isfinite(d)]
    fitting = [s for s in sigmas if PSF_SIGMA_PX[0] <= s <= PSF_SIGMA_PX[1]]
    return fitting[0] if fitting and not size.reason else USUAL_PSF_PX
