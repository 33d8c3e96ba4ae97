"""Export of the frames that a step handed on, where the run recorded them: a corrected movie as a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..core.errors import SessionError, did_you_mean
from ..core.names import plane_file_names
from .csv_writer import frame_rows, write_csv
from .reader import Session
from .recorded_step import SessionStep
from .stack_writer import Frame, StackWriter

STACKS = ("tiff", "ome-zarr", "npy")


def export_step_frames(
    session: Session, step: str, to: str, out: Path, progress: Callable[[int], None] = lambda n: None
) -> list[Path]:
    """Write the frames that a step handed on to the new folder `out`, of each plane that has it, and return the files.

    `to` is one of STACKS; `progress` is told the number of frames written. Raises SessionError for another format, a
    folder that is there already, a step there is not, or one whose frames were not recorded.
    """
    if to not in STACKS:
        raise SessionError(f"export: frames of a step are written as {', '.join(STACKS)}; found {to!r}")
    if out.exists() and any(out.iterdir()):
        raise SessionError(f"{out}: exists and is not empty; name another --out")
    names = plane_file_names(session.planes) if len(session.planes) > 1 else {}
    steps = {name: one for name in session.planes for one in session.plane(name).recorded_steps if one.id == step}
    if not steps:
        known = dict.fromkeys(s for name in session.planes for s in session.plane(name).steps)
        raise SessionError(f"{session.path}: no step {step!r}{did_you_mean(step, known)}")
    if not any([next(one.each_frame(), None) is not None for one in steps.values()]):  # each says where it has none
        raise SessionError(f"{session.path}: no frame of step {step!r} was written, as far as can be read")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, one in steps.items():
        stem = out / ".".join(filter(None, (step, names.get(name))))
        written += _export(one, StackWriter(to, one.session), stem, progress)
    return written


def _export(step: SessionStep, stacks: StackWriter, stem: Path, progress: Callable[[int], None]) -> list[Path]:
    index = np.array([index for index, _ in step.each_frame()], np.int64)
    t_s = np.nan_to_num(step.times_s(index))
    rows = list(zip(index.tolist(), np.rint(t_s * 1e9).astype(np.int64).tolist(), strict=True))
    if not rows:
        return []
    first = next(step.each_frame())[1]
    spec = step.session.spec.with_(
        shape=first.shape, dtype=first.dtype.name, pixel_um=step.sees.pixel_um, camera=None, planes=()
    )

    def frames() -> Iterator[Frame]:
        for n, ((_, pixels), row) in enumerate(zip(step.each_frame(), rows, strict=True), 1):
            progress(n)
            yield (*row, pixels)

    path = stacks.write(stem, frames(), len(rows), spec)
    return [path, write_csv(stem.with_name(f"{stem.name}.csv"), *frame_rows(rows))]
