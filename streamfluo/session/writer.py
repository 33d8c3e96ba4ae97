"""Writing a session: the folder one run leaves behind.

session.json      series, spec, steps with parameters and what they give, source, host, versions, state
                  session.copy.json the same, in case it is damaged
config.toml       the config as the user wrote it
journal/*.sfj     raw frames (journal.py), where they are recorded
values/STEP.sfv   values, append-only
snapshots/STEP.npz, camera.npz, truth.npz
snapshots/STEP/FRAME-NAME.npz   those that were asked for while frames came, as of before that frame
planes/N/         values, snapshots and frames of the N-th plane, where there are several
frames/STEP.ome.zarr   frames that a step handed on, where [record] names it (step_frames.py)
checkpoint.npz    the chain's state (checkpoint.py), to go on from; checkpoint.before.npz the one before
events.jsonl      gaps, muted steps, the end
inputs/NAME.sfv   samples of other streams; of `frames` when they arrived
actions.jsonl     what became of each decision of a trigger, where there are actions
health.json       counters
manifest.json     which files there are, and a checksum of each (manifest.py)
.lock             held while a run writes
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from zlib_ng import zlib_ng

from .. import __version__
from ..core.errors import SessionError
from ..core.operator import Gives
from ..core.params import with_present_names
from ..core.registry import operator_of
from ..core.source import Source
from ..core.spec import Camera
from .checkpoint import Checkpoint, load_checkpoint
from .disk_calls import DiskCalls
from .files import LineFile, save_arrays, save_json
from .health import Health
from .inputs import InputWriter
from .journal import JournalWriter
from .journal_frames import MAX_INDEX
from .lock import take
from .manifest import MANIFEST, NAMED_IN_FACTS, write_manifest
from .places import snapshot_path, step_place
from .reader import ACTIONS, FACTS_COPY, open_session
from .schema import FORMAT, sealed
from .step_frames import HandedFrames, StepFramesWriter, step_frames_path
from .values import ValuesWriter

_LIBRARIES = ("numpy", "scipy", "numba", "pyzmq", "tifffile")
BEFORE_A_SESSION = {".lock", "camera.npz", "session.part"}  # what a run killed at its start leaves
NO_FRAMES: Mapping[str, HandedFrames] = MappingProxyType({})
CHECKPOINT, CHECKPOINT_BEFORE = "checkpoint.npz", "checkpoint.before.npz"

Snapshots = Callable[[], Mapping[str, np.ndarray]]


class RunFacts(NamedTuple):
    """What a session says of the chain: each step's facts and what it gives, the config's name and text.

    `frames`: what a step hands on, of those whose frames are recorded. `told`: further facts, those that a source says
    otherwise among them.
    """

    steps: Mapping[str, Mapping[str, Any]]
    gives: Mapping[str, Sequence[Gives]]
    config_name: str
    config_text: str
    frames: Mapping[str, HandedFrames] = NO_FRAMES
    told: Mapping[str, Any] = MappingProxyType({})


class SessionWriter:
    """Writes one session. Raises SessionError if `folder` already holds one that is not to be resumed.

    `raw`: whether raw frames are recorded (None: where they cannot be read again). `journal` (None: they are not)
    belongs to the journal's thread, `values` by step to the values' thread. `checkpoint` is where a resumed chain may
    go on, None where it must begin anew.
    """

    def __init__(
        self,
        folder: Path,
        source: Source,
        run: RunFacts,
        *,
        raw: bool | None = None,
        resume: bool = False,
        calls: DiskCalls | None = None,
    ) -> None:
        self.folder = folder
        self.calls = calls or DiskCalls()
        _refuse_or_resume(folder, source, resume)
        self._new = not (folder / "session.json").exists()
        self._lock = take(folder)
        raw = raw if raw is not None else reference_of(source) is None
        try:
            camera = source.spec.camera
            if camera and any(isinstance(v, np.ndarray) for _, v in camera.items()):
                camera.save(folder / "camera.npz")
            self._facts = _facts(source, run)
            self._write_facts("running")  # from here on it is a session, and a run that is killed can be resumed
            (folder / MANIFEST).unlink(missing_ok=True)  # of a run that this one goes on with
            self._planes = source.spec.plane_names
            (folder / "config.toml").write_bytes(run.config_text.encode())
            self.journal: JournalWriter | None = None
            if raw:
                self.journal = JournalWriter(folder / "journal", source.series.uid, self._planes, self.calls)
            self.checkpoint = _usable(folder, source, run.steps) if resume else None
            kept = self.checkpoint.values_nbytes if self.checkpoint else {}
            self.values = {
                step: ValuesWriter(
                    values_path(folder, self._planes, step), source.series.uid, kept.get(step, 0), self.calls
                )
                for step in run.steps
            }
            self.step_frames = {step: self._frames_of(step, handed) for step, handed in run.frames.items()}
            self._events = LineFile(folder / "events.jsonl", self.calls)
            self._actions: LineFile | None = None  # made with the first
        except OSError as error:
            self._lock.release()
            raise SessionError(f"{folder}: cannot write the session: {error.strerror}") from None
        except SessionError:
            self._lock.release()
            raise

    def _frames_of(self, step: str, handed: HandedFrames) -> StepFramesWriter:
        """What writes the frames of a step, behind those of before the checkpoint."""
        place, name = step_place(self.folder, self._planes, step)
        kept = 0
        if self.checkpoint is not None:  # frames that a step has of its own are numbered otherwise: all are kept
            reached = self.checkpoint.reached.get(step.rpartition("/")[0], self.checkpoint.next_index)
            kept = reached if handed.by_index else MAX_INDEX
        return StepFramesWriter(step_frames_path(place, name), handed.spec, kept, self.calls)

    def abandon(self) -> None:
        """Leave a session to which nothing was written: give its lock back; remove the folder if it is new."""
        for close in (*(v.close for v in self.values.values()), self._events.close):
            close()
        if self.journal is not None:
            self.journal.close()
        self._lock.release()
        if self._new:
            shutil.rmtree(self.folder, ignore_errors=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Append an event; what a full disk refuses is written later."""
        self._events.append(json.dumps(sealed({"utc": now(), **event})))

    def new_input(self, name: str) -> InputWriter:
        """Return what writes an input's samples; it belongs to the thread that reads them. Raises OSError."""
        return InputWriter(self.folder, name, self._facts["series"]["uid"], self.calls)

    def acted(self, told: Mapping[str, Any]) -> None:
        """Note what became of a decision of a trigger; what a full disk refuses is written later."""
        if self._actions is None:
            self._actions = LineFile(self.folder / ACTIONS, self.calls)
        self._actions.append(json.dumps(sealed({"utc": now(), **told})))

    def commit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events that are on the disk before anything comes of them; all or none. Raises OSError."""
        self._events.commit([json.dumps(sealed({"utc": now(), **event})) for event in events])

    def save_snapshots(self, step: str, frame: int, arrays: Mapping[str, np.ndarray]) -> list[Path]:
        """Write snapshots of a step as of before `frame`, a file each. Raises OSError."""
        paths = [snapshot_path(self.folder, self._planes, step, name, frame) for name in arrays]
        for path, (name, array) in zip(paths, arrays.items(), strict=True):
            with self.calls.timed("snapshot"):
                save_arrays(path, {name: array})
        return paths

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write where the chain stands, the values before it first. Belongs to the values' thread. Raises OSError."""
        for writer in self.values.values():
            writer.flush()
            writer.sync()
        for frames in self.step_frames.values():
            frames.sync()
        nbytes = {step: writer.nbytes for step, writer in self.values.items()}
        with self.calls.timed("checkpoint"):
            replace(checkpoint, values_nbytes=nbytes).save(self.folder / CHECKPOINT, self.folder / CHECKPOINT_BEFORE)

    def close(
        self, snapshots: Mapping[str, Snapshots], health: Health, truth: Mapping[str, np.ndarray], state: str
    ) -> None:
        """Write what waits, the final snapshots, truth and health, and say how the run ended.

        `snapshots` reads those of each step. Each part is written whatever became of the others. Raises the first
        OSError at the end.
        """
        parts: list[Callable[[], None]] = [values.close for values in self.values.values()]
        parts += [frames.close for frames in self.step_frames.values()]
        parts += [self.journal.close] if self.journal is not None else []
        parts += [partial(self._write_snapshots, step, read) for step, read in snapshots.items()]
        parts += [partial(save_arrays, self.folder / "truth.npz", truth)] if truth else []
        parts += [
            partial(save_json, self.folder / "health.json", sealed(health.to_dict())),
            partial(self.event, {"event": "closed", "state": state}),
            self._events.close,
        ]
        parts += [self._actions.close] if self._actions is not None else []
        failed = [error for part in parts if (error := _attempt(part)) is not None]
        if failed and not state.startswith("failed"):
            state = f"failed: {failed[0].strerror or failed[0]}"
        failed += [error for error in (_attempt(self._write_manifest),) if error is not None]
        # The lock goes last: a session that says it runs and is not locked was interrupted.
        ends = (partial(self._write_facts, state), self._lock.release)
        failed += [error for part in ends if (error := _attempt(part)) is not None]
        if failed:
            raise failed[0]

    def _write_snapshots(self, step: str, read: Snapshots) -> None:
        try:
            snapshots = read()
        except Exception as error:  # an operator's fault must not cost the rest of the session
            self.event({"event": "snapshot failed", "step": step, "error": f"{type(error).__name__}: {error}"})
            return
        if snapshots:
            folder, name = step_place(self.folder, self._planes, step)
            save_arrays(folder / "snapshots" / f"{name}.npz", snapshots)

    def _write_manifest(self) -> None:
        journal = self.journal.crcs if self.journal is not None else {}
        chunks = {path: crc for frames in self.step_frames.values() for path, crc in frames.crcs.items()}
        with self.calls.timed("manifest"):
            self._facts[NAMED_IN_FACTS] = write_manifest(self.folder, journal, chunks)

    def _write_facts(self, state: str) -> None:
        facts = sealed({**self._facts, "state": state, "written": now()})
        with self.calls.timed("session"):
            save_json(self.folder / "session.json", facts)
            save_json(self.folder / FACTS_COPY, facts)


def reference_of(source: Source) -> str | None:
    """Return the URI under which the frames can be read again, None for a stream that has gone by."""
    if not source.seekable:
        return None
    if source.path is None:
        return source.series.source
    query = source.series.source.partition("?")[2] if source.query is None else source.query
    return str(source.path.resolve()) + (f"?{query}" if query else "")


def values_path(folder: Path, planes: Sequence[str], step: str) -> Path:
    """Return the file of a step's values."""
    place, name = step_place(folder, planes, step)
    return place / "values" / f"{name}.sfv"


def _attempt(part: Callable[[], None]) -> OSError | None:
    try:
        part()
    except OSError as error:
        return error
    return None


def _usable(folder: Path, source: Source, steps: Mapping[str, Mapping[str, Any]]) -> Checkpoint | None:
    """The last checkpoint that is whole, if it is of this series and of exactly these steps; else it begins anew."""
    checkpoint = load_checkpoint(folder / CHECKPOINT) or load_checkpoint(folder / CHECKPOINT_BEFORE)
    if checkpoint is None or checkpoint.series_uid != source.series.uid:
        return None
    for step, nbytes in checkpoint.values_nbytes.items():
        path = values_path(folder, source.spec.plane_names, step)
        if not path.exists() or path.stat().st_size < nbytes:
            return None
    wanted = {step: _identity(facts) for step, facts in steps.items()}
    found = {step: _identity(saved) for step, saved in checkpoint.steps.items()}
    return checkpoint if json.dumps(wanted, sort_keys=True) == json.dumps(found, sort_keys=True) else None


def _identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a step the same one: its kind, version, place and parameters, these under their present names."""
    identity = {name: facts.get(name) for name in ("kind", "version", "params", "after", "inputs")}
    operator = operator_of(str(identity["kind"]))
    if operator is not None:
        identity["params"] = with_present_names(operator.Params, identity["params"] or {})
    return identity


def _refuse_or_resume(folder: Path, source: Source, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise SessionError(f"{folder}: a file, not a folder; name another --out")
    for path in folder.rglob("*"):
        if path.is_symlink():  # somebody else's session could have any file overwritten
            raise SessionError(f"{path}: a link, through which nothing is written; put what it leads to in its place")
    if not (folder / "session.json").exists():
        if folder.exists() and any(file.name not in BEFORE_A_SESSION for file in folder.iterdir()):
            raise SessionError(f"{folder}: not empty and no session; name another --out")
        return
    uid = open_session(folder).series["uid"]
    if uid != source.series.uid:
        free = next(p for n in range(2, 10**6) if not (p := folder.with_name(f"{folder.name}-{n}")).exists())
        raise SessionError(f"{folder}: holds another series ({uid}); use --out {free}")
    if not resume:
        raise SessionError(f"{folder}: already holds this series; add --resume to go on, or name another --out")


def _facts(source: Source, run: RunFacts) -> dict[str, Any]:
    series, camera = source.series, source.spec.camera or Camera()
    return {
        "format": FORMAT,
        "series": {
            "uid": series.uid,
            "source": series.source,
            "t0_ns": series.t0_ns,
            "frames": series.frames,
            "user": dict(series.user),
        },
        "reference": reference_of(source),
        "spec": source.spec.to_header(),
        "camera_maps": any(isinstance(v, np.ndarray) for _, v in camera.items()),
        "steps": {step: {**facts, "gives": [_said(g) for g in run.gives[step]]} for step, facts in run.steps.items()},
        "config": run.config_name,
        "config_crc32": zlib_ng.crc32(run.config_text.encode()),
        "host": {"name": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
        "versions": versions_here(),
        "started": now(),
        **run.told,
    }


def versions_here() -> dict[str, str]:
    """Return the versions of Python, this program and the libraries that decide about numbers."""
    return {"python": sys.version.split()[0], "streamfluo": __version__, **_versions()}


@cache
def _versions() -> dict[str, str]:
    """The libraries' versions, asked for once: importlib keeps 1.5 kB for each change of a folder on its way."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def now() -> str:
    """Return the time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _said(given: Gives) -> dict[str, Any]:
    """What a session says of a thing that a step gives; ids that are new need no word."""
    said: dict[str, Any] = msgspec.to_builtins(given)
    return {name: value for name, value in said.items() if name != "ids_of" or value}
