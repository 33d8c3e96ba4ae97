"""What ran: from where, how many frames, on which machine, how fast, and how to open it again."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..core.errors import StreamfluoError
from ..core.findings import Figure, counted, spelled
from ..core.spec import Spec
from ..pixels.report import binned, picture
from ..session.exported import note_of
from ..session.reader import Session
from ..session.referenced import file_of
from .course import valid_frames
from .html import Markup, element, facts_table
from .recorded import Part

FRAMES = 16  # behind the mean of a recording
MAX_CONFIG = 20_000  # characters
STATES = {
    "finished": "finished", "aborted": "stopped before the end of the series", "running": "still running",
    "interrupted": "interrupted: the run was killed, or the machine went down",
}  # fmt: skip
Facts = list[tuple[object, object]]


def state_of(session: Session) -> tuple[str, str]:
    """Return how the run stands in a word and in a sentence."""
    word = session.state.partition(":")[0]
    return word, STATES.get(word, session.state)


def duration(frames: int, interval_s: float | None) -> str:
    """Return how long so many frames last; "" where the interval is not known."""
    if interval_s is None:
        return ""
    seconds = frames * interval_s
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.3g} s"


def source_facts(session: Session) -> Facts:
    """Return what came in."""
    spec, series = session.spec, session.series
    rows: Facts = [("source", series["source"]), ("frames", spelled_frames(spec))]
    if spec.interval_s:
        rows.append(("rate", f"{spelled(1 / spec.interval_s)} frames/s, one each {spelled(1000 * spec.interval_s)} ms"))
    else:
        rows.append(("rate", "not stated by the source"))
    rows.append(("pixel", f"{spelled(spec.pixel_um)} µm" if spec.pixel_um else "size not stated by the source"))
    if spec.planes:
        rows.append(("planes", ", ".join(spec.plane_names)))
    rows.append(("camera", _camera(spec)))
    rows += [(f"sender: {name}", value) for name, value in list(series["user"].items())[:12]]
    return rows


def frame_facts(session: Session, parts: Sequence[Part]) -> Facts:
    """Return how many frames were acquired, received, lost, valid."""
    announced = session.series["frames"]
    acquired = session.frames + session.lost
    rows: Facts = [
        (
            "acquired",
            counted(acquired, "frame")
            + (f" of {spelled(announced)} announced" if announced and announced != acquired else ""),
        )
    ]
    rows.append(("received", counted(session.frames, "frame")))
    lost = Counter[str]()
    for gap in session.gaps:
        lost[gap.reason] += gap.count
    share = f" ({100 * session.lost / acquired:.2g} %)" if session.lost else ""
    rows.append(("lost", counted(session.lost, "frame") + share))
    rows += [(f"by {reason}", counted(n, "frame")) for reason, n in lost.items()]
    for part in parts:
        if (declared := valid_frames(part)) is not None:
            of = f"valid in {part.name}" if part.name else "valid"
            rows.append((of, f"{spelled(int(declared[0].sum()))} of {spelled(len(declared[0]))} frames"))
    if said := duration(session.frames, session.spec.interval_s):
        rows.append(("duration", said))
    for part in parts if session.spec.planes else ():
        lost_here = spelled(part.session.lost)
        rows.append((f"plane {part.name}", f"{counted(part.session.frames, 'frame')}, {lost_here} lost"))
    where = "raw, in the session" if session.has_journal else "not copied, read again from their source"
    rows.append(("kept", where))
    return rows


def machine_facts(session: Session) -> Facts:
    """Return when and where it ran."""
    facts = session.facts
    host, versions = (_map(facts.get(name)) for name in ("host", "versions"))
    t0_ns = session.series["t0_ns"]
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(t0_ns / 1e9)) if 0 < t0_ns < 1 << 62 else ""
    rows: Facts = [("started", utc(facts.get("started"))), ("last written", utc(facts.get("written")))]
    rows += [("first frame", began)] if began else []
    rows += [("machine", host.get("name", "not noted")), ("system", host.get("system", "not noted"))]
    rows += [("processors", host["cpus"])] if host.get("cpus") else []
    rows.append(("streamfluo", versions.get("streamfluo", "not noted")))
    rows.append(("with", ", ".join(f"{n} {v}" for n, v in versions.items() if n != "streamfluo")))
    return rows


def provenance(session: Session) -> Facts:
    """Return what says which data these are: uid, reference, checksums."""
    facts = session.facts
    rows: Facts = [("session", str(session.path.resolve())), ("series uid", session.series["uid"])]
    rows += [("frames at", facts["reference"])] if facts.get("reference") else []
    if (before := facts.get("refined_from")) is not None:
        rows += [("refined from", before["session"]), ("its session.json, sha256", before["sha256"])]
    for name in ("session.json", "config.toml"):
        path = session.path / name
        if path.is_file():
            rows.append((f"sha256 of {name}", hashlib.sha256(path.read_bytes()).hexdigest()))
    crc = facts.get("config_crc32")
    rows += [("crc32 of the config as it ran", f"{crc:08x}")] if isinstance(crc, int) else []
    if (note := note_of(session.path)) is not None:
        verified = f"not verified: {note.why}" if note.why else f"verified {note.utc}"
        rows.append((f"exported as {note.to}", f"{note.place}, {verified}"))
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    rows.append(("this page", f"made {made} by streamfluo {__version__}, Python {sys.version.split()[0]}"))
    return rows


def config_text(session: Session) -> str:
    """Return the config as it ran, "" where it is not there."""
    path = session.path / "config.toml"
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    return text if len(text) <= MAX_CONFIG else f"{text[:MAX_CONFIG]}\n# … and more: config.toml in the session"


def opening(session: Session) -> Markup:
    """Return how the session is opened again."""
    path = session.path.resolve()
    quoted = shlex.quote(str(path))
    lines = f"streamfluo inspect {quoted}\nstreamfluo view {quoted}\nstreamfluo export {quoted} --to tiff"
    lines += f"\n\n# in Python\nimport streamfluo\nsession = streamfluo.open_session({str(path)!r})"
    return element("pre", lines)


def health_tables(session: Session) -> list[Markup]:
    """Return latency, time of each step, edges, actions and inputs of a run; none of one that was killed."""
    health = session.health
    tables = []
    times = {**_maps(health.get("latency_ms")), **{f"step {n}": t for n, t in _maps(health.get("steps_ms")).items()}}
    if times:
        head = element("tr", *(element("th", name, scope="col") for name in ("ms a frame", "p50", "p99", "largest")))
        body = (
            element("tr", element("th", name, scope="row"),
                    *(element("td", spelled(_number(ms.get(q)))) for q in ("p50", "p99", "max")))
            for name, ms in times.items()
        )  # fmt: skip
        tables.append(element("table", element("thead", head), element("tbody", *body)))
    rows: Facts = []
    for edge, counts in _maps(health.get("edges")).items():
        if not counts.get("frames"):
            continue
        said = f"{counted(int(_number(counts.get('frames')) or 0), 'frame')}, "
        said += f"{spelled((_number(counts.get('bytes')) or 0) / 1e6)} MB"
        most = (_number(counts.get("peak_backlog")) or 0) / 1e6
        rows.append((edge, said + (f", {spelled(most)} MB waited at most" if most else "")))
    rows += [(f"disk: {call}", said) for call, said in _map(health.get("disk")).items()]
    refused = _map(health.get("refused"))
    rows += [("messages refused", ", ".join(f"{rule} {n}" for rule, n in refused.items()))] if refused else []
    if session.actions:
        became = Counter(str(action["became"]) for action in session.actions)
        rows.append(("actions", ", ".join(f"{n} {name}" for name, n in became.items())))
    for name, one in session.recorded_inputs.by_name.items():
        clock = f"its clock known to {spelled(one.clock.error_ns / 1e6)} ms"
        clock = f"its clock undetermined: {one.undetermined}" if one.undetermined else clock
        rows.append((f"input {name}", f"{counted(len(one.t_ns), 'sample')}, {clock}"))
    if rows:
        tables.append(facts_table(rows))
    return tables


def frame_pictures(session: Session, wanted: bool) -> list[Figure]:
    """Return the mean of some raw frames and the newest one. Frames that lie elsewhere are read where they are a file,
    or where nothing else is there to see (`wanted`)."""
    reference = session.facts.get("reference")
    if not session.has_journal and not (wanted or (isinstance(reference, str) and file_of(reference).exists())):
        return []
    total, count, frames = np.zeros(()), np.zeros(()), 0
    last, newest, k = 0, np.empty((0, 0)), 1
    try:
        for index, pixels in some_frames(session):
            newest, k = binned(pixels)
            known = np.isfinite(newest)
            total, count = total + np.where(known, newest, 0.0), count + known
            last, frames = index, frames + 1
    except (StreamfluoError, OSError) as error:
        return [Figure("Frames", f"The frames cannot be read: {error}", b"")]
    if not frames:
        return []
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    where = "spread over the recording" if session.has_journal else "at its beginning"
    said: dict[str, Any] = {"pixel_um": session.spec.pixel_um, "unit": "ADU", "binned": (session.spec.shape, k)}
    return [
        picture(mean, "Raw mean", f"Mean of {counted(frames, 'raw frame')} {where}.", **said),
        picture(newest, f"Raw frame {last}", "As it came.", **said),
    ]


def some_frames(session: Session) -> Iterator[tuple[int, np.ndarray]]:
    """Yield index and pixels (y, x) of some frames: spread over a recording, the first ones of what lies elsewhere."""
    if not session.has_journal:
        yield from ((index, pixels) for index, _, pixels in session.each_frame(0, FRAMES))
        return
    indices = session.indices()
    at = np.unique(np.linspace(0, len(indices) - 1, FRAMES).astype(int)) if len(indices) else indices
    for index in indices[at].tolist():
        yield from ((i, pixels) for i, _, pixels in session.each_frame(index, index + 1))


def spelled_frames(spec: Spec) -> str:
    """Return the frames' shape and type."""
    height, width = spec.shape
    return f"{width} × {height} pixels (x × y), {spec.dtype}"


def utc(text: object) -> str:
    """Return a time of the session as it is read."""
    return str(text).replace("T", " ").replace("Z", " UTC") if text else "not noted"


def _camera(spec: Spec) -> str:
    known = dict(spec.camera.known()) if spec.camera is not None else {}
    if not known:
        return "not described"
    units = {"offset_adu": "ADU", "gain_e_per_adu": "e⁻/ADU", "read_noise_e": "e⁻", "saturation_adu": "ADU"}
    names = {"qe": "quantum efficiency", "gain_e_per_adu": "gain", "offset_adu": "offset", "read_noise_e": "read noise",
             "saturation_adu": "saturation", "excess_noise": "excess noise"}  # fmt: skip
    return ", ".join(
        f"{names.get(name, name)} "
        + (
            "a map"
            if isinstance(value, np.ndarray) and value.ndim
            else f"{spelled(value)} {units.get(name, '')}".strip()
        )
        for name, value in known.items()
    )


def _map(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _maps(found: Any) -> dict[str, Mapping[str, Any]]:
    return {str(name): value for name, value in _map(found).items() if isinstance(value, Mapping)}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
