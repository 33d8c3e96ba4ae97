"""Writing a session: the folder one run leaves behind.

session.json      series, spec, steps with parameters and what they give, source, host, versions, state
config.toml       the config as the user wrote it
journal/*.sfj     raw frames (edges/journal.py), where they are recorded
values/STEP.sfv   values, append-only
snapshots/STEP.npz, camera.npz, truth.npz
checkpoint.npz    the chain's state (checkpoint.py), to go on from
events.jsonl      gaps, muted steps, the end
health.json       counters
.lock             held while a run writes
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from ..core.errors import SessionError
from ..core.source import Source
from ..core.spec import Camera
from ..engine.chain import Chain
from ..engine.config import Config
from .checkpoint import Checkpoint, load_checkpoint
from .files import LineFile, save_arrays, save_json
from .health import Health
from .journal import JournalWriter
from .reader import FORMAT, read_json
from .values import ValuesWriter

_LIBRARIES = ("streamfluo", "numpy", "scipy", "numba", "pyzmq", "tifffile")


class SessionWriter:
    """Writes one session. Raises SessionError if `folder` already holds one that is not to be resumed.

    `journal` (None: raw frames are not recorded) belongs to the journal's thread, `values` by step to the values'
    thread. `checkpoint` is where a resumed chain may go on, None where it must begin anew.
    """

    def __init__(self, folder: Path, source: Source, chain: Chain, config: Config, resume: bool = False) -> None:
        self.folder = folder
        _refuse_or_resume(folder, source, resume)
        self._lock = _locked(folder)
        raw = config.record.raw if config.record.raw is not None else reference_of(source) is None
        try:
            (folder / "values").mkdir(parents=True, exist_ok=True)
            (folder / "config.toml").write_text(config.text, encoding="utf-8")
            self.journal = JournalWriter(folder / "journal", source.series.uid) if raw else None
            self.checkpoint = _usable(folder, source, chain) if resume else None
            kept = self.checkpoint.values_nbytes if self.checkpoint else {}
            self.values = {
                s.id: ValuesWriter(folder / "values" / f"{s.id}.sfv", source.series.uid, s.id, kept.get(s.id, 0))
                for s in chain.steps
            }
            self._events = LineFile(folder / "events.jsonl")
        except OSError as error:
            raise SessionError(f"{folder}: cannot write the session: {error.strerror}") from None
        self._facts = _facts(source, chain, config)
        self._write_facts("running")
        camera = source.spec.camera
        if camera and any(isinstance(v, np.ndarray) for _, v in camera.items()):
            camera.save(folder / "camera.npz")

    def event(self, event: Mapping[str, Any]) -> None:
        """Append an event; what a full disk refuses is written later."""
        self._events.append(json.dumps({"utc": now(), **event}))

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write where the chain stands, the values before it first. Belongs to the values' thread. Raises OSError."""
        for writer in self.values.values():
            writer.flush()
            writer.sync()
        nbytes = {step: writer.nbytes for step, writer in self.values.items()}
        replace(checkpoint, values_nbytes=nbytes).save(self.folder / "checkpoint.npz")

    def close(self, chain: Chain, health: Health, truth: Mapping[str, np.ndarray], state: str) -> None:
        """Write what waits, the final snapshots, truth and health, and say how the run ended.

        Each part is written whatever became of the others. Raises the first OSError at the end.
        """
        parts: list[Callable[[], None]] = [values.close for values in self.values.values()]
        parts += [self.journal.close] if self.journal is not None else []
        parts += [partial(self._write_snapshots, chain, step.id) for step in chain.steps]
        parts += [partial(save_arrays, self.folder / "truth.npz", truth)] if truth else []
        parts += [
            partial(save_json, self.folder / "health.json", health.to_dict()),
            partial(self.event, {"event": "closed", "state": state}),
            self._events.close,
            self._lock.release,
        ]
        failed = [error for part in parts if (error := _attempt(part)) is not None]
        if failed and not state.startswith("failed"):
            state = f"failed: {failed[0].strerror or failed[0]}"
        failed += [error] if (error := _attempt(partial(self._write_facts, state))) is not None else []
        if failed:
            raise failed[0]

    def _write_snapshots(self, chain: Chain, step: str) -> None:
        try:
            snapshots = chain.read(step)
        except Exception as error:  # an operator's fault must not cost the rest of the session
            self.event({"event": "snapshot failed", "step": step, "error": f"{type(error).__name__}: {error}"})
            return
        if snapshots:
            save_arrays(self.folder / "snapshots" / f"{step}.npz", snapshots)

    def _write_facts(self, state: str) -> None:
        save_json(self.folder / "session.json", {**self._facts, "state": state, "written": now()})


def reference_of(source: Source) -> str | None:
    """Return the URI under which the frames can be read again, None for a stream that has gone by."""
    if not source.seekable:
        return None
    if source.path is None:
        return source.series.source
    _, _, query = source.series.source.partition("?")
    return str(source.path.resolve()) + (f"?{query}" if query else "")


def _locked(folder: Path) -> FileLock:
    """Take the folder for this run alone; the system lets go of it when the process ends, however it ends."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SessionError(f"{folder}: another run is writing it; wait for it, or name another --out") from None
    except OSError as error:
        raise SessionError(f"{folder}: cannot write the session: {error.strerror}") from None
    return lock


def _attempt(part: Callable[[], None]) -> OSError | None:
    try:
        part()
    except OSError as error:
        return error
    return None


def _usable(folder: Path, source: Source, chain: Chain) -> Checkpoint | None:
    """The last checkpoint, if it is of this series and of exactly these steps; another config begins anew."""
    checkpoint = load_checkpoint(folder / "checkpoint.npz")
    if checkpoint is None or checkpoint.series_uid != source.series.uid:
        return None
    for step, nbytes in checkpoint.values_nbytes.items():
        path = folder / "values" / f"{step}.sfv"
        if not path.exists() or path.stat().st_size < nbytes:
            return None
    identity = ("kind", "version", "params", "after", "inputs")
    wanted = {step: {k: facts[k] for k in identity} for step, facts in chain.facts().items()}
    found = {step: {k: saved.get(k) for k in identity} for step, saved in checkpoint.steps.items()}
    return checkpoint if json.dumps(wanted, sort_keys=True) == json.dumps(found, sort_keys=True) else None


def _refuse_or_resume(folder: Path, source: Source, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise SessionError(f"{folder}: a file, not a folder; name another --out")
    if not (folder / "session.json").exists():
        if folder.exists() and any(folder.iterdir()):
            raise SessionError(f"{folder}: not empty and no session; name another --out")
        return
    facts = read_json(folder / "session.json")
    uid = facts.get("series", {}).get("uid")
    if uid != source.series.uid:
        free = next(p for n in range(2, 10**6) if not (p := folder.with_name(f"{folder.name}-{n}")).exists())
        raise SessionError(f"{folder}: holds another series ({uid}); use --out {free}")
    if not resume:
        raise SessionError(f"{folder}: already holds this series; add --resume to go on, or name another --out")


def _facts(source: Source, chain: Chain, config: Config) -> dict[str, Any]:
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
        "steps": {
            s.id: {**facts, "gives": [msgspec.to_builtins(g) for g in s.operator.gives]}
            for s, facts in zip(chain.steps, chain.facts().values(), strict=True)
        },
        "config": config.where,
        "host": {"name": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
        "versions": {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in _LIBRARIES},
        "started": now(),
    }


def now() -> str:
    """Return the time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
