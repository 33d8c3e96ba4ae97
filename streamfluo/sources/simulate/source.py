"""A simulation as a source: `sim:calcium?seed=3&shape=256x256&frames=2000`."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qsl

import msgspec
import numpy as np

from ...core.block import Block
from ...core.errors import SourceError, did_you_mean
from ...core.params import build_params
from ...core.plane import ONE_PLANE
from ...core.source import MAX_BLOCK_FRAMES, Series, Source
from ...core.spec import Spec
from .bleaching_steps import BleachingStepsSimulator
from .blinking import BlinkingSimulator
from .calcium import CalciumSimulator
from .camera import CameraParams
from .gain import GainSimulator
from .spots import SpotsSimulator
from .voltage import VoltageSimulator


class Simulator(Protocol):
    """What each simulator offers; `version` goes up when the same parameters make other pixels."""

    Params: ClassVar[type[CameraParams]]
    version: ClassVar[int]
    spec: Spec

    def __init__(self, params: Any) -> None:
        """Draw everything that does not change with time."""

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x); frame i depends on the parameters and i alone.

        A simulator of several planes takes the number of one, `render(start, stop, plane)`.
        """

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name, as plain arrays."""


SIMULATORS: dict[str, type[Simulator]] = {
    "bleaching-steps": BleachingStepsSimulator,
    "blinking": BlinkingSimulator,
    "calcium": CalciumSimulator,
    "gain": GainSimulator,
    "spots": SpotsSimulator,
    "voltage": VoltageSimulator,
}


def render(simulator: Simulator, start: int, stop: int, plane: int) -> np.ndarray:
    """Return the frames (n, y, x) of a plane by its number; a simulator of one plane knows no other."""
    call: Callable[..., np.ndarray] = simulator.render
    return call(start, stop, plane) if simulator.spec.planes else call(start, stop)


class SimulatedSource(Source):
    """Frames from a simulator named in a URI, `sim:NAME?parameter=value&…`; a shape is written 256x256.

    The same parameters are the same series, frame by frame and to the bit, so any index can be served again.
    Raises SourceError for a simulator that is not there or text that is not a query, ConfigError for a parameter.
    """

    def __init__(self, uri: str) -> None:
        name, query = _split(uri)
        where = f"sim:{name}"
        kind = SIMULATORS[name]
        params = build_params(kind.Params, _read_query(query, kind.Params, where), where)
        self._simulator = kind(params)
        self._frames = params.frames
        self._position = 0
        self._todo = deque[tuple[int, int, int]]()  # plane, first and one past the last time point
        self._served = 0
        self.spec = self._simulator.spec
        later = {f.name: f.default for f in msgspec.structs.fields(params) if f.name in params.added}
        given = {key: v for key, v in msgspec.structs.asdict(params).items() if key not in later or v != later[key]}
        uid = hashlib.blake2b(repr((name, kind.version, sorted(given.items()))).encode(), digest_size=16).hexdigest()
        frames = None if params.frames is None else params.frames * len(self.spec.plane_names)
        self.series = Series(uid, _write_uri(name, params), frames=frames)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        """Yield the frames from the present position on, in blocks of at most `max_frames`; endless without `frames`.

        Of several planes a block each for the same time points. Frames come as fast as they are made; frame i of a
        plane is stamped with i · interval, later by what its slice is taken later, rounded to nanoseconds.
        """
        while self._todo or self._plan(max_frames):
            n, start, stop = self._todo.popleft()
            if stop - start > max_frames:  # planned when more were asked for
                self._todo.appendleft((n, start + max_frames, stop))
                stop = start + max_frames
            times_ns = self._times_ns(start, stop, self._delay_s(n))
            self._served = max(self._served, stop)
            pixels = render(self._simulator, start, stop, n)
            of = [(plane.channel, plane.z) for plane in self.spec.planes][n : n + 1]
            yield Block(start, times_ns, pixels, *(of[0] if of else ()))

    def times_ns(self, plane: str = ONE_PLANE) -> np.ndarray | None:
        n = self.spec.plane_names.index(plane) if plane in self.spec.plane_names else 0
        return None if self._frames is None else self._times_ns(0, self._frames, self._delay_s(n))

    def _times_ns(self, start: int, stop: int, delay_s: float = 0.0) -> np.ndarray:
        times_ns = np.arange(start, stop) * ((self.spec.interval_s or 0) * 1e9)
        return np.rint(times_ns + delay_s * 1e9).astype(np.int64)

    def _delay_s(self, plane: int) -> float:
        """How much later than the first one a plane is taken [s]."""
        return float(getattr(self._simulator, "delays_s", (0.0,) * (plane + 1))[plane])

    def _plan(self, max_frames: int) -> bool:
        """Plan the next time points, plane by plane; returns whether there are any."""
        start, end = self._position, self._frames
        self._position = stop = start + max_frames if end is None else min(start + max_frames, end)
        if start < stop:
            self._todo.extend((n, start, stop) for n in range(len(self.spec.plane_names)))
        return start < stop

    def seek(self, index: int) -> None:
        """Make time point `index` the next; the length of the series is its end. Raises SourceError outside."""
        if index < 0 or (self._frames is not None and index > self._frames):
            end = "without end" if self._frames is None else f"{self._frames} frames long"
            raise SourceError(f"{self.series.source}: no frame {index}; the series is {end}")
        self._position = index
        self._todo.clear()

    @property
    def truth(self) -> Mapping[str, np.ndarray]:
        """What the series is made of, by name; computed at each call, so keep it.

        It covers the whole series, or, where that has no end, the frames up to the last one served so far.
        """
        return self._simulator.truth(self._served if self._frames is None else self._frames)


def _split(uri: str) -> tuple[str, str]:
    name, _, query = uri.removeprefix("sim:").partition("?")
    if name not in SIMULATORS:
        raise SourceError(f"{uri}: no simulator {name!r}{did_you_mean(name, SIMULATORS)}")
    return name, query


def _read_query(query: str, struct: type[Any], where: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise SourceError(f"{where}: '?{query}' is not parameter=value&parameter=value") from None
    hints = {f.name: f.type for f in msgspec.structs.fields(struct)}
    values: dict[str, Any] = {}
    for key, text in pairs:
        if key in values:
            raise SourceError(f"{where}: parameter {key!r} is given twice, {dict(pairs)[key]!r} the last time")
        values[key] = _read_value(text, hints.get(key))
    return values


def _read_value(text: str, hint: Any) -> Any:
    """The value a URI's text stands for; text that does not fit stays text, for the located error that follows."""
    kinds = _plain_types(msgspec.inspect.type_info(hint)) if hint is not None else set()
    if text == "none" and msgspec.inspect.NoneType in kinds:
        return None
    for kind, read in _READERS:
        if kind in kinds:
            try:
                return read(text)
            except ValueError:
                return text
    return text


_WRITTEN = {"None": "none", "True": "true", "False": "false"}


def _read_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


_READERS: tuple[tuple[type[msgspec.inspect.Type], Callable[[str], Any]], ...] = (
    (msgspec.inspect.TupleType, lambda text: [int(part) for part in text.split("x")]),
    (msgspec.inspect.BoolType, _read_bool),
    (msgspec.inspect.IntType, int),
    (msgspec.inspect.FloatType, float),
)


def _plain_types(info: msgspec.inspect.Type) -> set[type[msgspec.inspect.Type]]:
    if isinstance(info, msgspec.inspect.Metadata):
        return _plain_types(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return {kind for part in info.types for kind in _plain_types(part)}
    return {type(info)}


def _write_uri(name: str, params: CameraParams) -> str:
    """The shortest URI that gives these parameters: those that differ from the default, in the order declared."""
    written = []
    for f in msgspec.structs.fields(params):
        value = getattr(params, f.name)
        if value != f.default:
            text = "x".join(map(str, value)) if isinstance(value, tuple) else _WRITTEN.get(str(value), str(value))
            written.append(f"{f.name}={text}")
    return f"sim:{name}" + ("?" + "&".join(written) if written else "")
