"""The session that a refinement leaves: the first one's, with refined steps in place of those of the run."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from .. import __version__
from ..core.errors import SessionError
from ..core.plane import in_plane
from ..core.refinement import Refined
from ..core.source import Series, Source
from ..core.spec import Spec
from ..core.step_values import Gate, StepValues, sized
from ..session.health import Health, PlaneHealth
from ..session.lock import is_held
from ..session.places import step_place
from ..session.reader import Session, open_session
from ..session.writer import RunFacts, SessionWriter, Snapshots
from .refining import Passes, Progress, refinable, refined

PART = ".part"  # the end of the name of a session that is not whole yet
_KEPT = ("truth.npz", "inputs")  # of the first session, as they are
_OF_FRAMES = ("lost_camera", "lost_transport", "paused")


class Outcome(NamedTuple):
    """What became of one step: a sentence, what the passes took, and the bytes held of frames and of traces."""

    step: str
    said: str
    passes: Passes
    held_bytes: int
    traces_bytes: int


@dataclass(frozen=True)
class _Frames:
    """In place of a source: what a session says of its frames, which are read where the first session has them."""

    series: Series
    spec: Spec
    seekable: bool = False
    path: Path | None = None


def refine_session(path: Path, out: Path, passes: int, progress: Progress) -> list[Outcome]:
    """Refine the steps of the session at `path` that can be, and write the session `out`, whole or not at all.

    Raises SessionError where nothing can be refined or `out` is there already, SourceError where frames are gone.
    """
    session = open_session(path)
    _refuse(session, out)
    _try_to_write(out)
    outcomes, results = list[Outcome](), dict[str, Refined]()
    for plane in session.planes:
        own = session.plane(plane)
        for step in refinable(own):
            found, taken = refined(session, (plane, step), passes, progress)
            results[in_plane(plane, step)] = found
            outcomes.append(
                Outcome(in_plane(plane, step), found.said, taken, found.held_bytes, found.per_frame_bytes * own.frames)
            )
    part = out.with_name(out.name + PART)
    if part.exists():
        if is_held(part):
            raise SessionError(f"{part}: another program is writing it; wait for it, or name another --out")
        shutil.rmtree(part)  # of a refinement that was interrupted
    _write(session, part, results, passes)
    part.rename(out)
    return outcomes


def fingerprint(path: Path) -> str:
    """Return the sha256 of a session's session.json, which its checksums tie to what it says."""
    return hashlib.sha256((path / "session.json").read_bytes()).hexdigest()


def _refuse(session: Session, out: Path) -> None:
    if out.exists():
        raise SessionError(f"{out}: is there already; name another --out")
    if session.state == "running":
        raise SessionError(f"{session.path}: its run goes on; refine it once it has ended")
    if not any(refinable(session.plane(plane)) for plane in session.planes):
        steps = ", ".join(f"{name} ({facts.kind})" for name, facts in session.steps.items()) or "none"
        raise SessionError(f"{session.path}: no step extracts, so there is nothing to refine; its steps are {steps}")
    if not session.frames:
        raise SessionError(f"{session.path}: no frame came, so there is nothing to refine")


def _try_to_write(out: Path) -> None:
    """Raise SessionError where no folder can be made: now, not after hours of passes."""
    there = next(folder for folder in out.absolute().parents if folder.exists())
    try:
        Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=there)).rmdir()
    except OSError as error:
        raise SessionError(f"{out}: cannot write the session: {error.strerror}") from None


def _write(session: Session, folder: Path, results: Mapping[str, Refined], passes: int) -> None:
    """Write the session that has the refined steps and those that do not build on them."""
    steps = _kept_steps(session, results)
    told = {
        "reference": str(session.path.resolve()) if session.has_journal else session.facts.get("reference"),
        "refined_from": {
            "session": str(session.path.resolve()), "sha256": fingerprint(session.path), "passes": passes,
            "streamfluo": __version__,
        },
    }  # fmt: skip
    config = session.path / "config.toml"
    facts = {step: _facts_of(session, step, results.get(step)) for step in steps}
    gives = {step: results[step].operator.gives if step in results else session.steps[step].gives for step in steps}
    text = config.read_bytes().decode() if config.exists() else ""
    run = RunFacts(facts, gives, str(session.facts.get("config", "")), text, told=told)
    writer = SessionWriter(folder, cast(Source, _Frames(Series(**session.series), session.spec)), run, raw=False)
    try:
        _copy(session, writer, results)
        for step in steps:
            for values in _values_of(session, step, results.get(step)):
                writer.values[step].add(values)
                writer.values[step].flush()
        snapshots: dict[str, Snapshots] = {
            step: partial(dict, results[step].snapshots if step in results else session.snapshot(step))
            for step in steps
        }
        writer.close(snapshots, _health(session), {}, "finished")
    except OSError as error:
        raise SessionError(f"{folder}: cannot write the session: {error.strerror}") from None


def _kept_steps(session: Session, results: Mapping[str, Refined]) -> list[str]:
    """The steps that are refined, and those that take nothing of them."""
    left_out = set[str]()
    for step, facts in session.steps.items():  # a step stands behind those that it takes something of
        takes = {facts.after, *(giver.rpartition(".")[0] for giver in facts.inputs.values())}
        plane = step.rpartition("/")[0]
        takes |= {in_plane(plane, giver) for giver in takes if "/" not in giver}
        if step not in results and takes & (left_out | results.keys()):
            left_out.add(step)
    return [step for step in session.steps if step not in left_out]


def _facts_of(session: Session, step: str, refined: Refined | None) -> dict[str, Any]:
    facts = {name: value for name, value in session.facts["steps"][step].items() if name != "gives"}
    return facts if refined is None else {**facts, "version": refined.operator.version}


def _copy(session: Session, writer: SessionWriter, results: Mapping[str, Refined]) -> None:
    """Copy what belongs to the frames: their times and inputs, what never came, the truth; and decisions of later."""
    for name in _KEPT:
        kept = session.path / name
        if kept.is_dir():
            shutil.copytree(kept, writer.folder / name, dirs_exist_ok=True)
        elif kept.exists() and not (writer.folder / name).exists():
            shutil.copyfile(kept, writer.folder / name)
    for step in results:
        folder, name = step_place(session.path, session.spec.plane_names, step)
        place, _ = step_place(writer.folder, session.spec.plane_names, step)
        if (judged := folder / f"judged-{name}.json").exists():
            shutil.copyfile(judged, place / judged.name)
    for event in session.events:
        if event["event"] in ("gap", "joined"):
            writer.event({name: value for name, value in event.items() if name != "utc"})


def _values_of(session: Session, step: str, refined: Refined | None) -> Iterator[StepValues]:
    if refined is None:
        for record in session.each_record(step):
            arrays = {name: array.copy() for name, array in record.arrays.items()}
            yield StepValues(step, record.index, record.frames, arrays, sized(arrays))
        return
    gate = Gate(step, refined.operator)
    for output in refined.values:
        values = gate.values(output, None)
        if values is not None:
            yield values


def _health(session: Session) -> Health:
    """What the session says of its frames; nothing of how the run fared."""
    known = {name: session.health[name] for name in _OF_FRAMES if name in session.health}
    planes = {
        name: PlaneHealth(**{key: facts[key] for key in ("frames", "lost", "next_index") if key in facts})
        for name, facts in session.health.get("planes", {}).items()
    }
    health = Health(**known, planes=planes)
    health.frames, health.next_index = session.frames, session.next_index
    return health
