"""What was found of a recording, each a sentence with its number."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .finding import Finding
from .interleaved import interleaved
from .light import Bleaching, bleaching, saturation, stuck_pixels
from .lines import line_offset
from .seen import Seen
from .steps import PIECEWISE_PX, USUAL_PSF_PX, moves

JOBS = {
    "calcium_2p": "two-photon calcium imaging", "calcium_1p": "one-photon calcium imaging", "sofi": "SOFI",
    "spots": "single molecules or other spots", "calibrate": "calibration of a camera",
}  # fmt: skip
BLEACHES = 0.03  # part of the light lost
SHOWS_SD = 4.0


def reasons(seen: Seen) -> list[Finding]:
    """Return all findings, the job first."""
    job = seen.job
    named = f"{JOBS[job.kind]}: {job.why}" if job.kind else f"{job.why}"
    return [
        Finding("job", named, known=bool(job.kind)),
        *_recording(seen),
        *(_cells(seen) if job.kind.startswith("calcium") or not job.kind else ()),
        *([_psf(seen)] if job.kind in ("sofi", "spots") else []),
        _motion(seen),
        _gain(seen),
        *_light(seen),
        *_pixels(seen),
    ]


def _recording(seen: Seen) -> Iterator[Finding]:
    sample = seen.sample
    total = "" if sample.total is None else f" of {sample.total}"
    runs = len(sample.runs)
    where = f"{len(sample.pixels)} frames{total} in {runs} run{'' if runs == 1 else 's'}"
    (height, width), shape = sample.spec.shape, sample.whole_shape
    window = f", the middle {height} × {width} px of {shape[0]} × {shape[1]}" if sample.spec.shape != shape else ""
    left_out = f"; {sample.unknown} frames are left out, as most of their pixels are NaN" if sample.unknown else ""
    yield Finding("looked at", f"{where}{window}{left_out}", len(sample.pixels), "frames")
    interval = sample.spec.interval_s
    if interval is None:
        yield Finding("frame rate", "the source does not state it; give --set source.interval_s=…", known=False)
    else:
        yield Finding("frame rate", f"{1 / interval:.4g} Hz, as the source states", 1 / interval, "Hz")
    if (period := interleaved(sample.pixels, sample.runs)) > 1:
        yield Finding(
            "planes",
            f"frames alternate between {period} planes that the file does not declare; save each as its own file",
            period,
        )
    if len(sample.planes) > 1:
        names = ", ".join(sample.planes)
        yield Finding("planes", f"{len(sample.planes)}: {names}; looked at {sample.plane}", len(sample.planes))


def _cells(seen: Seen) -> Iterator[Finding]:
    size = seen.size
    if size.reason:
        yield Finding("cell size", size.reason, known=False)
    else:
        by_field = f", {size.by_field_px:.1f} px by the autocorrelation of the field" if size.broad <= 0.9 else ""
        yield Finding(
            "cell size",
            f"{size.diameter_px:.1f} px across at half maximum around {len(size.places)} active places "
            f"({size.spread_px[0]:.1f} to {size.spread_px[1]:.1f}){by_field}",
            size.diameter_px,
            "px",
        )
    decay_s, reason = seen.decay
    if reason:
        yield Finding("decay time", reason, known=False)
    else:
        yield Finding("decay time", f"{decay_s:g} s of transients at those places", decay_s, "s")


def _psf(seen: Seen) -> Finding:
    spots, size = seen.evidence.spots, seen.size
    if math.isfinite(spots.sigma_px):
        said = f"σ = {spots.sigma_px:.2f} px, the median of fits to {spots.fitted} spots"
        return Finding("PSF", said, spots.sigma_px, "px")
    if not size.reason:
        sigma = size.diameter_px / 2.355
        return Finding("PSF", f"σ = {sigma:.2f} px around {len(size.places)} places that blink", sigma, "px")
    said = f"no spot is bright enough to fit; σ = {USUAL_PSF_PX:g} px is usual on a camera that samples it"
    return Finding("PSF", said, known=False)


def _motion(seen: Seen) -> Finding:
    shifts = seen.shifts
    if shifts.reason:
        return Finding("motion", shifts.reason, known=False)
    y, x = shifts.rms_px
    rms = math.hypot(y, x) / math.sqrt(2)
    said = f"{rms:.2f} px rms along each axis, {shifts.largest_px:.1f} px at most; {shifts.valid:.0%} registered"
    if not moves(shifts):
        return Finding("motion", f"{said}: nothing to correct", rms, "px")
    if math.isfinite(seen.parts_px):
        enough = "piecewise" if seen.parts_px > PIECEWISE_PX else "a rigid shift is enough"
        said += f"; patches move {seen.parts_px:.2f} px rms on their own: {enough}"
    return Finding("motion", said, rms, "px")


def _gain(seen: Seen) -> Finding:
    camera, found = seen.sample.spec.camera, seen.evidence.noise
    if camera is not None and camera.gain_e_per_adu is not None:
        gain = float(np.median(camera.gain_e_per_adu))
        return Finding("gain", f"{gain:.4g} e/ADU, as the source states", gain, "e/ADU")
    if found.reason:
        return Finding("gain", found.reason, known=False)
    low, high = found.interval
    return Finding("gain", f"{found.gain:.3g} e/ADU ({low:.3g} to {high:.3g}) by photon transfer", found.gain, "e/ADU")


def _light(seen: Seen) -> Iterator[Finding]:
    found = bleaching(seen.sample)
    if math.isfinite(found.error) and seen.job.kind != "calibrate":
        yield _bleaching(found)
    saturated = saturation(seen.sample)
    if saturated.share:
        yield Finding(
            "saturation", f"{saturated.share:.2%} of the pixels are at {saturated.at_adu:g} ADU", saturated.share
        )


def _bleaching(found: Bleaching) -> Finding:
    beyond = abs(found.lost) > max(SHOWS_SD * found.error, BLEACHES)
    of = "the light above the offset" if found.offset_known else "the recorded level (its offset is unknown: at least)"
    if not beyond:
        most = max(abs(found.lost) + 2 * found.error, BLEACHES)
        of = of.partition(" (")[0]
        return Finding("bleaching", f"none beyond {most:.0%} of {of}", found.lost)
    course = "are lost" if found.lost > 0 else "come in addition, so it does not bleach,"
    return Finding("bleaching", f"{abs(found.lost):.0%} of {of} {course} from beginning to end", found.lost)


def _pixels(seen: Seen) -> Iterator[Finding]:
    hot, dead = stuck_pixels(seen.sample)
    if hot or dead:
        yield Finding("stuck pixels", f"{hot} hot, {dead} that never change", hot + dead)
    lines = line_offset(seen.sample.pixels)
    if lines.shows:
        yield Finding(
            "lines",
            f"every second line lies {lines.offset_px:+.2f} px (± {lines.error_px:.2f}) along x: "
            "bidirectional scanning whose phase is off; correct it at the microscope, or before this program",
            lines.offset_px,
            "px",
        )
