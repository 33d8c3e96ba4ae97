"""A session read for a catalogue: once, checked, into plain values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import SessionError
from ..core.source import PAUSED
from ..report.course import warnings_of
from ..report.recorded import parts_of
from ..report.summary import config_text
from ..session.reader import Session, open_session
from .entry import UNREADABLE, Entry, Fields, mapping, text
from .image import preview_of
from .measures import measured

MOST = {  # of bytes, before a file is opened: a scan meets whatever lies in a folder
    "session.json": 16 << 20, "session.copy.json": 16 << 20, "health.json": 16 << 20, "config.toml": 4 << 20,
    "events.jsonl": 64 << 20, "actions.jsonl": 256 << 20,
}  # fmt: skip
WATCHED = (*MOST, "snapshots", "values", "planes", "exported.json")  # what changes when a session does
PLANES = 32  # whose steps are measured
MAX_USER = 64


def signature_of(folder: Path) -> str:
    """Return what tells whether a session was written since: sizes and times of its files, without opening any."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.name in WATCHED or e.name.startswith("judged-"))
        stats = [(name, (folder / name).stat()) for name in names]
    except OSError:  # it is being moved or deleted
        return ""
    return " ".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)


def sha256_of(path: Path) -> str:
    """Return a file's sha256; "" where it is not there or larger than such a file may be."""
    try:
        if path.stat().st_size > MOST[path.name]:
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def entry_of(folder: Path) -> Entry:
    """Return what is kept of a session; of one that cannot be read why, and nothing is raised for it."""
    fields: Fields = {
        "name": text(folder.name),
        "path": text(str(folder)),
        "sha256": sha256_of(folder / "session.json"),
    }
    try:
        for name, most in MOST.items():
            path = folder / name
            if path.exists() and (size := path.stat().st_size) > most:
                raise SessionError(f"{path}: {size:,} bytes, at most {most:,} are read of it; is it damaged?")
        session = open_session(folder)
        return _read(session, fields)
    except Exception as error:  # one session of thousands, of any version, perhaps forged: the others go on
        reason = str(error) if isinstance(error, SessionError) else f"{type(error).__name__}: {error}"
        return Entry({**fields, "state": UNREADABLE, "reason": text(reason)})


def _read(session: Session, fields: Fields) -> Entry:
    spec, series, facts = session.spec, session.series, session.facts
    parts = parts_of(session, PLANES)
    found = measured(session, parts)
    word, _, why = session.state.partition(":")
    host, versions = (mapping(facts.get(name)) for name in ("host", "versions"))
    words = {f"user.{text(k, 64)}": text(v) for k, v in list(series["user"].items())[:MAX_USER] if not _nested(v)}
    frames, lost = session.frames, session.lost
    warned = [text(said) for said in warnings_of(session)][:50]
    health = session.health
    config = session.path / "config.toml"
    fields |= {
        "state": word, "reason": text(why.strip()), "began": _began(series["t0_ns"], facts.get("started")),
        "steps": text(" ".join(dict.fromkeys(step.kind for step in session.steps.values()))),
        "frames": frames, "lost": lost, "lost_share": lost / (frames + lost) if frames + lost else None,
        "interval_s": spec.interval_s, "duration_s": frames * spec.interval_s if spec.interval_s else None,
        "height_px": spec.shape[0], "width_px": spec.shape[1], "pixel_um": spec.pixel_um,
        "nbytes": _nbytes(session.path), "doubts": len(health.get("muted", ())) + len(health.get("doubtful", ())),
        "source": text(series["source"]), "uid": text(series["uid"]), "host": text(host.get("name", "")),
        "version": text(versions.get("streamfluo", "")), "config_sha256": sha256_of(config) if config.exists() else "",
        "rig": _rig(words, text(host.get("name", "")), text(series["source"])),
        "camera": words.get("user.camera", text(spec.channel)),
    }  # fmt: skip
    return Entry(fields, found, words, config_text(session), _details(session, warned), preview_of(session, parts))


def _details(session: Session, warned: list[str]) -> str:
    """What the session's own page says beside the columns, as JSON."""
    facts = session.facts
    steps = {name: {"kind": step.kind, "version": step.version, "after": step.after, "params": step.params,
                    "inputs": step.inputs} for name, step in session.steps.items()}  # fmt: skip
    gaps = [[gap.first, gap.count, gap.reason] for gap in session.gaps if gap.reason != PAUSED][:50]
    said = {
        "steps": steps, "warnings": warned, "versions": mapping(facts.get("versions")), "gaps": gaps,
        "reference": facts.get("reference"), "started": facts.get("started"), "written": facts.get("written"),
        "planes": list(session.planes) if session.spec.planes else [], "dtype": session.spec.dtype,
        "raw": session.has_journal, "user": dict(list(session.series["user"].items())[:MAX_USER]),
        "refined_from": msgspec.to_builtins(session.facts.get("refined_from")),
    }  # fmt: skip
    text_ = json.dumps(said, default=str)
    return text_ if len(text_) < 1 << 20 else json.dumps({"warnings": ["Its facts are too long to be kept here."]})


def _rig(words: Mapping[str, str], host: str, source: str) -> str:
    """What a rig is called: as the sender says, else the machine, with the device where the URI names one."""
    for key in ("user.rig", "user.microscope", "user.setup"):
        if words.get(key):
            return words[key]
    scheme, colon, _ = source.partition(":")
    device = source.partition("?")[0] if colon and len(scheme) > 1 and "/" not in scheme and "\\" not in scheme else ""
    return " ".join(word for word in (host, device) if word)[:200]


def _began(t0_ns: Any, started: Any) -> str | None:
    if isinstance(t0_ns, int) and 0 < t0_ns < 1 << 62:
        return datetime.fromtimestamp(t0_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        at = datetime.fromisoformat(str(started)[:40])
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return None


def _nested(value: Any) -> bool:
    return isinstance(value, list | dict) or value is None


def _nbytes(folder: Path) -> int:
    total, left = 0, [folder]
    while left:
        with os.scandir(left.pop()) as entries:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    left.append(Path(each.path))
                else:
                    total += each.stat(follow_symlinks=False).st_size
    return total
