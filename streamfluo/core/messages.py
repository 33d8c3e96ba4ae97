"""The messages of wire protocol 1, a class each; what they mean stands in `wire`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

VERSION = 1
SOURCE = "source"  # where a chain's steps speak of what comes in

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
FrameFacts = tuple[tuple[int, int], str, float | None, float | None]  # shape, dtype, pixel_um, interval_s
LiveFacts = tuple[str, bool | int | float | None, float | None, float | None, str]  # parameter, value, range, meaning


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """A header; the class name in lower case is its `type`."""


class Start(_Message, frozen=True, kw_only=True):
    """A series begins."""

    version: int = VERSION
    series_uid: str
    source: str = ""
    t0_ns: int = 0
    frames: int | None = None
    dtype: str
    shape: tuple[int, int]
    channel: str = ""
    pixel_um: float | None = None
    exposure_s: float | None = None
    interval_s: float | None = None
    camera: dict[str, Any] | None = None
    planes: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    user: dict[str, Any] = {}


class ArrayHeader(msgspec.Struct, frozen=True):
    """One array of a result or a calibration."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int = 0
    dims: tuple[str, ...] = ()
    unit: str = ""


class Calibration(_Message, frozen=True, kw_only=True):
    """What is known of each pixel of the camera; the maps are the parts that follow."""

    series_uid: str
    arrays: tuple[ArrayHeader, ...]


class Image(_Message, frozen=True, kw_only=True):
    """One frame; its pixels are the second part."""

    version: int = VERSION
    series_uid: str
    seq: Count
    index: Count
    t_ns: Count | None = None
    dtype: str
    shape: tuple[int, int]
    nbytes: int
    channel: str = ""
    z: int = 0
    crc32: int | None = None
    user: dict[str, Any] = {}
    codec: str | msgspec.UnsetType = msgspec.UNSET
    nbytes_wire: Count | msgspec.UnsetType = msgspec.UNSET


class Slab(Image, frozen=True, kw_only=True):
    """One frame; its pixels are in this slab of the memory that its sender shares, behind the stamp seq + 1."""

    memory: str
    slab: Count


class Memory(_Message, frozen=True, kw_only=True):
    """Frames of this series may come in slabs of shared memory of this name, to who attaches to it."""

    series_uid: str
    memory: str


class Gap(_Message, frozen=True, kw_only=True):
    """The frames with these seqs are gone."""

    series_uid: str = ""
    first: int
    last: int
    reason: str = "transport"


class End(_Message, frozen=True, kw_only=True):
    """A series ends; `seq` is one past the last frame's."""

    series_uid: str
    seq: int
    frames: int
    dropped_camera: int = 0
    dropped_transport: int = 0
    reason: Literal["finished", "aborted", "error"] = "finished"


class Heartbeat(_Message, frozen=True, kw_only=True):
    """I am here."""


class Error(_Message, frozen=True, kw_only=True):
    """The last request was refused."""

    reason: str
    supported: tuple[int, ...] = (VERSION,)


class Subscribe(_Message, frozen=True, kw_only=True):
    """Send me this series from this seq on, at most `credit` frames for now."""

    version: int = VERSION
    series: str = "current"
    from_seq: int | Literal["oldest", "live"] = 0
    credit: int = 0
    codecs: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    memory: bool | msgspec.UnsetType = msgspec.UNSET


class Credit(_Message, frozen=True, kw_only=True):
    """I can take n more frames."""

    n: int


class Ack(_Message, frozen=True, kw_only=True):
    """Everything up to and including seq is safe with me."""

    seq: int


class Bye(_Message, frozen=True, kw_only=True):
    """I leave."""


class PlacesFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Single things at places: names of the table, and of what is known of each."""

    table: str = ""
    value: str = ""
    doubtful: tuple[str, ...] = ()
    chances: str = ""
    first: int = 0
    trace: str = ""
    fitted: str = ""


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """How the results of a kind of operator are drawn, where their axes do not say it."""

    choice: dict[str, tuple[str, ...]] = {}
    colours: dict[str, str] = {}
    over_time: tuple[str, ...] = ()
    ticks: dict[str, str] = {}
    gauges: dict[str, tuple[float, float]] = {}
    places: PlacesFacts = PlacesFacts()


class Hello(_Message, frozen=True, kw_only=True):
    """Who is there? Or the answer: what runs here, and where its results are."""

    version: int = VERSION
    program: str = ""
    series: dict[str, Any] | None = None
    steps: list[tuple[str, str, str]] = []
    gives: dict[str, list[tuple[str, str, tuple[str, ...], str, str]]] = {}
    frames: dict[str, FrameFacts] = {}
    endpoints: dict[str, str] = {}
    presents: dict[str, tuple[list[str], list[str]]] | msgspec.UnsetType = msgspec.UNSET
    compares: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    drawn: dict[str, Drawn] | msgspec.UnsetType = msgspec.UNSET
    live: dict[str, list[LiveFacts]] | msgspec.UnsetType = msgspec.UNSET
    takes: dict[str, dict[str, tuple[str, str]]] | msgspec.UnsetType = msgspec.UNSET


class Status(_Message, frozen=True, kw_only=True):
    """How does it fare? Or the answer: counters, losses, edges, steps."""

    program: str = ""
    state: str = ""
    series_uid: str = ""
    counters: dict[str, Any] = {}


class Preview(_Message, frozen=True, kw_only=True):
    """Send me the newest frames of a step, binned. Or the answer: where they are sent."""

    step: str = SOURCE
    bin_px: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    endpoint: str = ""


class Look(_Message, frozen=True, kw_only=True):
    """Send me the first recorded frame of a plane from an index on, binned."""

    step: str = SOURCE
    index: Count
    bin_px: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class Past(_Message, frozen=True, kw_only=True):
    """Send me the values that a step gave last of frames before an index."""

    step: str
    names: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    before: Count


class Event(_Message, frozen=True, kw_only=True):
    """Something happened: a gap, a muted step, a full disk."""

    event: str
    utc: str = ""
    fields: dict[str, Any] = {}


class Result(_Message, frozen=True, kw_only=True):
    """A step's values for `count` frames from `index` on, or its snapshots after frame `index`.

    Those of the past say `before` which frame they were asked for.
    """

    series_uid: str
    step: str
    kind: Literal["values", "snapshot"] = "values"
    index: int
    count: int
    arrays: tuple[ArrayHeader, ...]
    before: Count | msgspec.UnsetType = msgspec.UNSET


Message = (
    Start | Image | Slab | Memory | Gap | End | Heartbeat | Error | Subscribe | Credit | Ack | Bye
    | Hello | Status | Preview | Look | Past | Event | Result | Calibration
)  # fmt: skip
