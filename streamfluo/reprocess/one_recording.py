"""One recording through a chain into its session, on whichever worker; one that was done before is left alone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from .. import __version__
from ..core.errors import ConfigError, SessionError, SourceError, StreamfluoError
from ..core.registry import find_operator
from ..core.source import Source
from ..engine.building import named_planes
from ..engine.config import ChainConfig, Config, PublishConfig, parse_config
from ..engine.engine import Engine
from ..session.files import save_json
from ..session.reader import open_session
from ..sources.opening import open_source
from .collections import LEDGER
from .recordings import Recording

Became = Literal["done", "there", "failed"]
Stated = tuple[str, str, tuple[str, ...]]  # a config: its name, text and changes


class Task(NamedTuple):
    """What a worker is given: the config, a recording, the folder of all sessions."""

    config: Stated
    recording: Recording
    out: str


class Outcome(NamedTuple):
    """What became of a recording: `done` now, `there` from before, or `failed`, and why.

    frames, lost: of its session; seconds: that it took; resumed: whether it went on from what an earlier worker left.
    """

    name: str
    uri: str
    became: Became
    why: str = ""
    frames: int = 0
    lost: int = 0
    seconds: float = 0.0
    resumed: bool = False


class _Entry(msgspec.Struct, frozen=True):
    """What stands in the ledger of a recording: what it was made of, and which process began it."""

    key: str
    uri: str
    streamfluo: str
    host: str = ""
    pid: int = 0


def config_of(task: Task) -> Config:
    """Return the config as it is run: on one thread, with nobody to serve and nothing to switch."""
    where, text, changes = task.config
    config = parse_config(text, where, changes)
    return replace(config, chain=ChainConfig(threads=1), publish=PublishConfig(), actions=(), inputs=())


def reprocess_one(task: Task) -> Outcome:
    """Run a recording to its end, from where an earlier worker was ended; what is done already is not done again.

    What is wrong with the recording, the config or the disk is the outcome; nothing else is caught.
    """
    recording, began = task.recording, time.monotonic()
    try:
        return _run(task, began)
    except (StreamfluoError, OSError) as error:
        return Outcome(*recording, "failed", why(error), seconds=time.monotonic() - began)


def why(error: Exception) -> str:
    """Return what went wrong in words, without the number that the system gives it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _run(task: Task, began: float) -> Outcome:
    recording, config = task.recording, config_of(task)
    folder = Path(task.out) / recording.name
    with open_source(recording.uri, planes=bool(named_planes(config.steps))) as source:
        if not source.seekable:
            raise SourceError(f"{recording.uri}: a stream goes by once; record it, and reprocess the session")
        if source.series.frames is None:
            raise SourceError(f"{recording.uri}: has no end; select frames, as in ?frames=1000")
        begun = begun_before(task, config, source)
        if begun == "finished":
            return there(task)
        note(task, config, source)
        engine = Engine(source, config, folder, resume=bool(begun), program="reprocess")
        engine.start()
        engine.wait()
        health = engine.health()
    if engine.error is not None:
        raise SourceError(engine.error)
    muted = "; ".join(f"{step}: {why}" for step, why in health.muted.items())
    return Outcome(
        *recording, "done", muted, health.frames, health.lost, time.monotonic() - began, bool(begun)
    )  # fmt: skip


def there(task: Task) -> Outcome:
    """Return the outcome of a recording whose session is there already."""
    session = open_session(Path(task.out) / task.recording.name)
    return Outcome(*task.recording, "there", frames=session.frames, lost=session.lost)


def note(task: Task, config: Config, source: Source) -> None:
    """Note in the ledger what the session of a recording will be made of, and by whom."""
    entry = _Entry(key_of(config, source), task.recording.uri, __version__, platform.node(), os.getpid())
    save_json(_entry_path(task), msgspec.to_builtins(entry))


def begun_before(task: Task, config: Config, source: Source) -> str:
    """Return the state of the session that is there, "" for none. Raises SessionError where it is of something else."""
    folder, entry = Path(task.out) / task.recording.name, _entry_path(task)
    if not (folder / "session.json").exists():
        return ""
    session = open_session(folder)
    try:
        of = msgspec.json.decode(entry.read_bytes(), type=_Entry).key
    except (OSError, msgspec.DecodeError):
        of = ""
    if of != key_of(config, source):
        what = "was not made here" if not of else "is of another config, recording or version"
        raise SessionError(f"{folder}: is there, and {what}; name another --out, or move it")
    return session.state


def key_of(config: Config, source: Source) -> str:
    """Return what tells one reprocessing of a recording from another: a hash of the frames' identity, the config with
    the files it names, and the versions of program and steps."""
    tables: dict[str, Any] = {
        "series": source.series.uid,
        "streamfluo": __version__,
        "source": {**msgspec.to_builtins(config.source), "uri": None},
        "record": msgspec.to_builtins(config.record),
        "steps": [
            {**msgspec.to_builtins(step), "version": find_operator(step.kind).version} for step in config.steps
        ],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(_with_files(tables), sort_keys=True).encode()).hexdigest()


def _with_files(value: Any) -> Any:
    """The same with the hash of its content beside each file that it names."""
    if isinstance(value, dict):
        return {name: _with_files(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_files(one) for one in value]
    if not isinstance(value, str) or not value:
        return value
    path = Path(value)
    named = path / "session.json" if path.is_dir() else path
    try:
        return [value, hashlib.sha256(named.read_bytes()).hexdigest()] if named.is_file() else value
    except OSError as error:
        raise ConfigError(f"{named}: cannot be read: {error.strerror}") from None


def _entry_path(task: Task) -> Path:
    return Path(task.out) / LEDGER / f"{task.recording.name}.json"
