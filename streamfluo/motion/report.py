"""What motion correction comes to in a report: how far the sample moved, and which frames were not registered."""

from __future__ import annotations

import numpy as np

from ..core.findings import UNKNOWN, Findings, Number, ReportedStep, counted, spelled
from ..pixels.report import curves, picture


def report_of(step: ReportedStep) -> Findings:
    """Return the shifts of a recorded step, the agreement with its template, and the mean of the corrected frames."""
    shift, correlation = step.per_frame("shift_px"), step.per_frame("correlation")
    valid, restarted = step.per_frame("valid") > 0, step.per_frame("restarted") > 0
    if not len(valid):
        return Findings(sentences=["No frame came as far as this step."])
    pixel_um = step.sees.pixel_um
    numbers = [Number("registered", spelled(int(valid.sum())), "frames", f"of {spelled(len(valid))}")]
    if valid.any() and shift.ndim == 2:
        length = np.linalg.norm(shift[valid], axis=1)
        jump = np.linalg.norm(np.diff(shift[valid], axis=0), axis=1)
        moved = [("largest shift", length.max()), ("rms shift", np.sqrt(np.mean(length**2)))]
        moved += [("median step between frames", np.median(jump))] if len(jump) else []
        for name, px in moved:
            note = f"{spelled(float(px) * pixel_um)} µm" if pixel_um is not None else ""
            numbers.append(Number(name, spelled(float(px)), "px", note))
        agreement = correlation[valid][np.isfinite(correlation[valid])]
        middle = spelled(float(np.median(agreement))) if len(agreement) else UNKNOWN
        numbers.append(Number("correlation with the template", middle, "", "median of registered frames"))
    figures = [
        picture(step.snapshot[name], title, said, step.sees.pixel_um if _seen(step, name) else None, unit="ADU")
        for name, title, said in (
            ("mean", "Mean of the corrected frames", ""),
            ("template", "Template", "What frames are registered against."),
        )
        if name in step.snapshot
    ]
    if shift.ndim == 2:
        figures.append(curves(step.index, {"y": shift[:, 0], "x": shift[:, 1]}, step.interval_s, "Shift", "shift [px]"))
    figures.append(
        curves(step.index, {"correlation": correlation}, step.interval_s, "Agreement with the template", "correlation")
    )
    sentences = []
    if not valid.all():
        missed = counted(int((~valid).sum()), "frame")
        sentences.append(f"{missed} could not be registered; the steps after this one learned nothing from them.")
    if restarted.any():
        sentences.append(f"A template of a new scene began {counted(int(restarted.sum()), 'time')}.")
    return Findings(f"{100 * valid.mean():.3g} % of frames registered", numbers, figures, sentences=sentences)


def measures_of(step: ReportedStep) -> dict[str, float]:
    """Return how far the sample moved and drifted [px], and how many frames were registered, for a catalogue.

    `motion_px` is the diagonal of what holds 98 % of the shifts, `drift_px` the way from the first tenth's median to
    the last tenth's: single wrong shifts change neither.
    """
    shift, valid = step.per_frame("shift_px"), step.per_frame("valid") > 0
    if not len(valid):
        return {}
    found = {"valid_frames": float(valid.sum()), "valid_share": float(valid.mean())}
    agreement = step.per_frame("correlation")
    agreement = agreement[valid & np.isfinite(agreement)] if len(agreement) == len(valid) else np.empty(0)
    if len(agreement):
        found["correlation"] = float(np.median(agreement))
    if shift.ndim == 2 and valid.any():
        shift = shift[valid]
        tenth = max(1, len(shift) // 10)
        found["motion_px"] = float(np.hypot(*np.subtract(*np.percentile(shift, (99, 1), axis=0))))
        found["drift_px"] = float(np.hypot(*(np.median(shift[-tenth:], 0) - np.median(shift[:tenth], 0))))
    return found


def _seen(step: ReportedStep, name: str) -> bool:
    """Whether a snapshot has the pixels of the frames, whatever was cropped of them."""
    return step.snapshot[name].shape[0] <= step.sees.shape[0]
