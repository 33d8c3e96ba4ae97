"""Writing a session: the folder one run leaves behind.

session.json      series, spec, steps with parameters and what they give, source, host, versions, state
config.toml       the config as the user wrote it
journal/*.sfj     raw frames (edges/journal.py), where they are recorded
values/STEP.sfv   values, append-only
snapshots/STEP.npz, camera.npz, truth.npz
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
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from ..core.block import Block
from ..core.errors import SessionError
from ..core.operator import Output
from ..core.spec import Camera
from ..edges.journal import JournalWriter
from ..edges.source import Gap, Source
from .chain import Chain
from .config import Config
from .health import Health
from .session import FORMAT, read_json
from .values import ValuesWriter

_LIBRARIES = ("streamfluo", "numpy", "scipy", "numba", "pyzmq", "tifffile")


class SessionWriter:
    """Writes one session. Raises SessionError if `folder` already holds one that is not to be resumed.

    `record` and `gap` belong to the journal thread, `add` to the values thread, the rest to one thread at a time.
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
            self._values = {
                step.id: ValuesWriter(folder / "values" / f"{step.id}.sfv", source.series.uid, step.id)
                for step in chain.steps
            }
            _cut_torn_line(folder / "events.jsonl")
            self._events = (folder / "events.jsonl").open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise SessionError(f"{folder}: cannot write the session: {error.strerror}") from None
        self._facts = _facts(source, chain, config)
        self._write_facts("running")
        camera = source.spec.camera
        if camera and any(isinstance(v, np.ndarray) for _, v in camera.items()):
            camera.save(folder / "camera.npz")

    def record(self, block: Block) -> None:
        """Write raw frames, if this session records them. Raises OSError."""
        if self.journal is not None:
            self.journal.append(block)

    def gap(self, gap: Gap) -> None:
        """Note frames that never came."""
        self.event({"event": "gap", "first": gap.first, "count": gap.count, "reason": gap.reason})

    def event(self, event: Mapping[str, Any]) -> None:
        """Append an event. Raises OSError."""
        self._events.write(json.dumps({"utc": _now(), **event}) + "\n")

    def add(self, step: str, output: Output) -> None:
        """Append a step's values. Raises OSError."""
        self._values[step].add(output)

    def close(self, chain: Chain, health: Health, truth: Mapping[str, np.ndarray], state: str) -> None:
        """Write what waits, the final snapshots, truth and health, and say how the run ended.

        Each part is written whatever became of the others. Raises the first OSError at the end.
        """
        parts: list[Callable[[], None]] = [values.close for values in self._values.values()]
        parts += [self.journal.close] if self.journal is not None else []
        parts += [partial(self._write_snapshots, chain, step.id) for step in chain.steps]
        parts += [partial(save_arrays, self.folder / "truth.npz", truth)] if truth else []
        parts += [
            partial(_write_json, self.folder / "health.json", health.to_dict()),
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
        snapshots = chain.read(step)
        if snapshots:
            save_arrays(self.folder / "snapshots" / f"{step}.npz", snapshots)

    def _write_facts(self, state: str) -> None:
        _write_json(self.folder / "session.json", {**self._facts, "state": state, "written": _now()})


def reference_of(source: Source) -> str | None:
    """Return the URI under which the frames can be read again, None for a stream that has gone by."""
    if not source.seekable:
        return None
    if source.path is None:
        return source.series.source
    _, _, query = source.series.source.partition("?")
    return str(source.path.resolve()) + (f"?{query}" if query else "")


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz aside, sync it and put it in place, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        np.savez(file, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


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


def _cut_torn_line(path: Path) -> None:
    """Cut a text file behind its last whole line."""
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


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
            s.id: {
                "kind": s.operator.kind,
                "version": s.operator.version,
                "params": msgspec.to_builtins(s.operator.params, enc_hook=lambda array: array.tolist()),
                "after": s.config.after,
                "gives": [msgspec.to_builtins(g) for g in s.operator.gives],
            }
            for s in chain.steps
        },
        "config": config.where,
        "host": {"name": platform.node(), "system": platform.platform(), "cpus": os.cpu_count()},
        "versions": {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in _LIBRARIES},
        "started": _now(),
    }


def _write_json(path: Path, value: Any) -> None:
    aside = path.with_suffix(".part")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
