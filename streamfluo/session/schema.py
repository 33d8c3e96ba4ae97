"""What the files of a session hold besides records: read through one schema each, with their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from zlib_ng import zlib_ng

from ..core.errors import SessionError
from ..core.operator import Gives
from ..core.plane import ONE_PLANE
from ..core.stored_arrays import NOT_AN_ARRAY, stored_arrays

FORMAT = 2
READABLE = (1, FORMAT)  # of 1 neither JSON nor a record's header has a checksum
MAX_JSON_BYTES = 64 << 20

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]  # of frames, or the index of one


@dataclass(frozen=True)
class FrameFacts:
    """Shape (y, x), pixel size and origin of the frames that a step sees (`Spec`)."""

    shape: tuple[int, int]
    pixel_um: float | None = None
    origin_px: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class StepFacts:
    """What a session says of a step."""

    kind: str
    version: int
    params: Mapping[str, Any]
    after: str
    gives: tuple[Gives, ...]
    sees: FrameFacts | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    frames_of: str = ""  # the step whose own frames its indices count, "" for the source's
    device: str = ""  # the card that it ran on, "" for the processor


class FormatFacts(msgspec.Struct, frozen=True):
    """What every session.json has."""

    format: Any = None


class SeriesFacts(msgspec.Struct, frozen=True):
    """The series that was recorded."""

    uid: str
    source: str
    t0_ns: int = 0
    frames: int | None = None
    user: dict[str, Any] = {}


class RefinedFacts(msgspec.Struct, frozen=True):
    """Of which session another one is the refinement: its folder, the sha256 of its session.json, how many passes."""

    session: str
    sha256: str
    passes: int
    streamfluo: str = ""


class SessionFacts(msgspec.Struct, frozen=True):
    """session.json."""

    format: int
    series: SeriesFacts
    spec: dict[str, Any]
    steps: dict[str, StepFacts]
    state: str
    reference: str | None = None
    camera_maps: bool = False
    started: str = ""
    config_crc32: int | None = None
    versions: dict[str, str] = {}
    refined_from: RefinedFacts | None = None


class PlaneHealthFacts(msgspec.Struct, frozen=True):
    """What health.json says of one plane of several."""

    frames: Count = 0
    lost: Count = 0
    next_index: Count = 0


class HealthFacts(msgspec.Struct, frozen=True):
    """health.json, as far as a session reads it."""

    frames: Count = 0
    lost: Count = 0
    next_index: Count = 0
    elapsed_s: float = 0.0
    planes: dict[str, PlaneHealthFacts] = {}
    edges: dict[str, dict[str, int]] = {}
    muted: dict[str, str] = {}
    doubtful: dict[str, str] = {}


class EventFacts(msgspec.Struct, frozen=True):
    """A line of events.jsonl."""

    event: str
    utc: str = ""


class ActionFacts(msgspec.Struct, frozen=True):
    """A line of actions.jsonl."""

    action: str
    became: str
    step: str
    frame: int
    t_ns: int
    arrived_ns: int
    taken_ns: int
    decided_ns: int
    done_ns: int


class GapFacts(msgspec.Struct, frozen=True):
    """A gap's line of events.jsonl."""

    first: Count
    count: Count
    reason: str
    plane: str = ONE_PLANE


class JoinedFacts(msgspec.Struct, frozen=True):
    """The line of events.jsonl that a stream was joined late: the first frame here, and how many were sent before."""

    frame: Count
    seq: Count


class MutedFacts(msgspec.Struct, frozen=True):
    """A muted step's line of events.jsonl: the first frame that it has no values of, and why."""

    step: str
    frame: int
    error: str = ""


class SetFacts(msgspec.Struct, frozen=True):
    """A changed parameter's line of events.jsonl."""

    step: str
    param: str
    value: Any
    frame: Count


class CurateFacts(msgspec.Struct, frozen=True):
    """A decision's line of events.jsonl."""

    step: str
    verb: str
    ids: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]]
    author: str
    note: str
    number: Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]
    undo_of: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    frame: Count
    polygons: list[list[tuple[float, float]]] = []


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON map with the crc32 of the rest as its last entry."""
    return {**value, "crc32": zlib_ng.crc32(json.dumps(value).encode())}


def unsealed(text: str | bytes, form: int) -> dict[str, Any]:
    """Return a JSON map whose checksum agrees; of format 1 it has none. Raises ValueError for one that is damaged."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON map")
    if form == 1:
        return value
    crc = value.pop("crc32", None)
    if crc != zlib_ng.crc32(json.dumps(value).encode()):
        raise ValueError("damaged (crc32 differs)")
    return value


def read_json(path: Path, schema: type[T], form: int = FORMAT) -> tuple[dict[str, Any], T]:
    """Return a JSON file's map, and what the schema takes from it. Raises SessionError if it is damaged or another."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"longer than {MAX_JSON_BYTES} bytes")
        value = unsealed(path.read_bytes(), form)
        return value, msgspec.convert(value, schema)
    except OSError as error:
        raise SessionError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise SessionError(f"{path}: cannot be read: {error}") from None


def read_facts(path: Path) -> tuple[dict[str, Any], SessionFacts]:
    """Return session.json as a map and as facts. Raises SessionError if it is damaged or of another format."""
    found = read_json(path, FormatFacts, form=1)[1].format
    if found not in READABLE:
        raise SessionError(f"{path}: format {found!r}, this version reads {FORMAT}")
    return read_json(path, SessionFacts, found)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays of an .npz file that are whole, by name, and what is wrong with the others.

    Both are empty where there is no such file.
    """
    if not path.exists():
        return {}, []
    arrays: dict[str, np.ndarray] = {}
    wrong: list[str] = []
    try:
        with stored_arrays(path, packed=False) as stored:
            for name in stored.names:
                try:
                    arrays[name] = stored.read(name)
                except NOT_AN_ARRAY as error:
                    wrong.append(f"{name}: {error}")
            if not stored.is_whole:
                wrong.append("its list of arrays is damaged")
    except NOT_AN_ARRAY as error:
        wrong.append(str(error))
    return arrays, wrong
