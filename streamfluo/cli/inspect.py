"""`streamfluo inspect`: what a session holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..core.errors import SessionError
from ..session.exported import note_of
from ..session.reader import Session, open_session
from ..session.record_file import Damage
from ..session.recorded_step import SessionStep
from ..session.step_frames import read_layout
from .check import spell_spec
from .console import console, counted, one_line
from .progress import frame_progress

CHECKED_BYTES = 4 << 30  # some seconds of a disk


def inspect(
    session: Annotated[Path, typer.Argument(help="the session folder", show_default=False)],
    check: Annotated[
        bool, typer.Option("--check", help="read every frame of a long recording for its checksum")
    ] = False,
) -> None:
    """Show what a session holds: series, frames, gaps, steps, values, snapshots, health."""
    opened = open_session(session)
    facts = opened.facts
    program = facts.get("versions", {}).get("streamfluo")
    _say(f"{session}: {opened.state}, started {facts.get('started')} with streamfluo {program}")
    _say(f"series {opened.series['source']} ({opened.series['uid']}), {spell_spec(opened.spec)}")
    where = "in the journal" if opened.has_journal else f"read again from {facts.get('reference')}"
    _say(f"{counted(opened.frames, 'frame')} {where}, {opened.lost} lost in {counted(len(opened.gaps), 'gap')}")
    if (before := facts.get("refined_from")) is not None:
        _say(f"refined from {before['session']}, footprint passes: {before['passes']}")
    if (note := note_of(session)) is not None:
        verified = f"not verified: {note.why}" if note.why else f"verified {note.utc}"
        _say(f"exported as {note.to} to {note.place}, {verified}")
    for name in opened.planes if opened.spec.planes else ():
        plane = opened.plane(name)
        _say(f"  plane {name}: {counted(plane.frames, 'frame')}, {plane.lost} lost")
    for gap in opened.gaps[:10]:
        of = f" of plane {gap.plane}" if gap.plane else ""
        _say(f"  gap of {gap.count} at frame {gap.first}{of} ({gap.reason})")
    console.print(_contents(opened))
    for name, one in opened.recorded_inputs.by_name.items():
        known = f"its clock known to {one.clock.error_ns / 1e6:.3g} ms"
        known += f" by {counted(one.pulses, 'pulse')}" if one.pulses else ""
        known = f"its clock undetermined: {one.undetermined}" if one.undetermined else known
        _say(f"input {name}: {counted(len(one.t_ns), 'sample')}, {known}")
    if opened.actions:
        became = Counter(action["became"] for action in opened.actions)
        _say("actions: " + ", ".join(f"{count} {name}" for name, count in became.items()))
    _tell_damage(opened, check)
    for event in opened.events:
        if event["event"] == "muted":
            _say(f"muted {event['step']} at frame {event['frame']}: {event['error']}")
        if event["event"] == "noted":
            _say(f"{event['step']} at frame {event['frame']}: {event['said']}")
        if event["event"] == "doubtful":
            _say(f"doubtful {event['step']} from frame {event['frame']} on: {event['doubt']}")
    for edge, counts in opened.health.get("edges", {}).items():
        _say(f"{edge}: " + ", ".join(f"{name} {value}" for name, value in counts.items() if value))
    if opened.truth:
        _say("truth: " + ", ".join(opened.truth))


def _say(line: str) -> None:
    """Print one line: no name in a session makes another one of its own."""
    console.print(one_line(line), soft_wrap=True)


def _tell_damage(session: Session, check: bool) -> None:
    nbytes = session.journal.nbytes if session.has_journal else 0
    checked = check or nbytes <= CHECKED_BYTES
    damaged = _checked(session) if checked else session.damaged_so_far
    for damage in damaged[:20]:
        _say(f"damaged: {damage}")
    if len(damaged) > 20:
        _say(f"and {len(damaged) - 20} more places")
    if not checked:
        console.print(f"pixels not checked, {nbytes / 1e9:.0f} GB; --check reads all of them")


def _checked(session: Session) -> tuple[Damage, ...]:
    """What of the session is damaged, with a bar while its frames are read."""
    with frame_progress() as bar:
        task = bar.add_task("checking", total=session.frames, of=session.frames, note="")
        return session.check(lambda n: bar.update(task, completed=n))


def _contents(session: Session) -> Table:
    table = Table("step", "name", "kind", "shape", "unit", "meaning", box=None)
    for step, facts in session.steps.items():
        values, snapshots = session.values(step), session.snapshot(step)
        for given in facts.gives:
            found = snapshots.get(given.name) if given.kind == "snapshot" else values.get(given.name)
            shape = _recorded(session, step) if given.kind == "frames" else _shape(found)
            table.add_row(step, given.name, given.kind, shape, given.unit, given.meaning)
    return table


def _recorded(session: Session, step: str) -> str:
    """How many frames that the step handed on are there, of which shape."""
    try:
        path = SessionStep(session, step).frames_path
        layout = None if path is None else read_layout(path)
    except SessionError as error:
        return str(error)
    return "–" if layout is None else " × ".join(map(str, (layout.stop, *layout.shape)))


def _shape(found: Any) -> str:
    if found is None:
        return "–"
    if isinstance(found, dict):
        return f"{len(found)} columns × {len(found.get('frame', ()))}"
    return " × ".join(map(str, found.shape)) or f"{found}"
