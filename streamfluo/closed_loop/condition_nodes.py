"""What a condition is made of: each node turns the values of some frames into one number a frame.

Truth is a number as well: 1, 0, or NaN where it is not known (Kleene's three values). A node that looks back, as
`rising` does, keeps what it needs of earlier frames; results do not depend on how frames were cut into blocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ConfigError
from ..core.operator import Gives
from .followed_id import ById, FollowedId

NUMBER, TRUTH, EITHER = "a number", "true or false", "a number or true or false"
ANY_UNIT = None  # of a number that is written without one


class Frames(NamedTuple):
    """The frames that a condition is evaluated for: the first one's index, times (t,), the values they gave by name."""

    first: int
    times_ns: np.ndarray
    inputs: Mapping[str, Any]


class Node(ABC):
    """A part of a condition. `text` is what was written, `kind` number or truth, `unit` None where any unit will do."""

    kind = NUMBER
    unit: str | None = ANY_UNIT

    def __init__(self, text: str, *parts: Node) -> None:
        self.text, self.parts = text, parts

    def walk(self) -> Iterator[Node]:
        """Yield this node and all it is made of."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def settle(self, given: Mapping[str, Gives]) -> None:
        """Find kinds and units, from the parts up. Raises ConfigError where they do not fit."""
        for part in self.parts:
            part.settle(given)
        self._settle(given)

    def _settle(self, given: Mapping[str, Gives]) -> None:  # noqa: B027 - most need nothing of their parts
        """Check what the parts are; they know it by now."""

    def _settle_parts(self, kind: str, what: str) -> None:
        """Raises ConfigError where a part is several values a frame, or of another kind."""
        for part in self.parts:
            needs_one(part)
            if part.kind not in (kind, EITHER):
                raise ConfigError(f"{what} takes {kind}, found {part.text!r}, which is {part.kind}")

    @abstractmethod
    def value(self, now: Frames) -> np.ndarray:
        """Return one number a frame (t,) float64, NaN where it is not known."""

    def interrupt(self) -> None:  # noqa: B027 - most nodes look at one frame at a time
        """Frames never came: what was before them is not what was just before the next one."""

    def memory(self) -> dict[str, float]:
        """What it keeps of earlier frames."""
        return {}

    def recall(self, memory: Mapping[str, float]) -> None:  # noqa: B027 - most keep nothing
        """Take over what `memory` returned."""


def needs_one(node: Node) -> None:
    """Raises ConfigError for several values where one number a frame is wanted."""
    if isinstance(node, Values) and not node.single:
        raise ConfigError(
            f"{node.text}: several values a frame; name one, {node.need}[3], or take their mean, max, min, "
            "sum or median"
        )


def truth(node: Node, now: Frames) -> np.ndarray:
    """Return whether a node is true (t,): 1, 0, or NaN where that is not known; numbers are where they are not 0."""
    found = node.value(now)
    return np.where(np.isnan(found), np.nan, found != 0) if node.kind == EITHER else found


def common_unit(text: str, left: Node, right: Node) -> str | None:
    """The unit of two numbers that are compared or added. Raises ConfigError where they have different ones."""
    if ANY_UNIT not in (left.unit, right.unit) and left.unit != right.unit:
        raise ConfigError(
            f"{text!r}: {left.text} is in {left.unit or 'no unit'}, {right.text} in {right.unit or 'no unit'}"
        )
    return right.unit if left.unit is ANY_UNIT else left.unit


class Number(Node):
    """A number as it is written, in its unit."""

    def __init__(self, text: str, number: float, unit: str | None, kind: str = NUMBER) -> None:
        super().__init__(text)
        self.number, self.unit, self.kind = number, unit, kind

    def value(self, now: Frames) -> np.ndarray:
        return np.full(len(now.times_ns), self.number)


class Clock(Node):
    """The frame's index, or its time since the series began."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.unit = "s" if text == "time" else ""

    def value(self, now: Frames) -> np.ndarray:
        if self.unit:
            return now.times_ns / 1e9
        return now.first + np.arange(len(now.times_ns), dtype=float)


class Values(Node):
    """Values of a step: some of those it gives for a frame, by id or by their place, or all of them."""

    def __init__(self, text: str, need: str, places: tuple[int, ...] | None) -> None:
        super().__init__(text)
        self.need, self.places = need, places
        self.absent: set[int] = set()  # ids that were not there in the last frame
        self.followed: list[FollowedId] = []
        self._now: np.ndarray | None = None  # which ids these are in each frame (t, n), of those by id
        self._newest = np.nan  # of a snapshot, as it was read last
        self._given: Gives | None = None

    def _settle(self, given: Mapping[str, Gives]) -> None:
        self._given = found = given[self.need]
        if found.kind == "table":
            raise ConfigError(f"{self.text}: a table; count({self.need}) is the number of its rows in a frame")
        if found.kind == "snapshot" and not (len(found.dims) == 0 or (self.places and len(found.dims) == 1)):
            what = "an image" if "y" in found.dims else f"a snapshot of {', '.join(found.dims)}"
            raise ConfigError(f"{self.text}: {what}; a condition takes one number of a snapshot, {self.need}[0]")
        if found.kind == "per_frame" and len(found.dims) == 1 and self.places is not None:
            raise ConfigError(f"{self.text}: {self.need} is one number a frame; write it without [ ]")
        if found.kind == "by_id":
            self.followed = [FollowedId(place, f"{self.need}[{place}]") for place in self.places or ()]
        self.unit = found.unit
        self.kind = EITHER if found.dims == ("t",) and not found.unit else NUMBER  # `valid` and `count` look alike

    @property
    def single(self) -> bool:
        """Whether it is one number a frame."""
        assert self._given is not None
        if self.places is not None:
            return len(self.places) == 1
        return self._given.dims == ("t",) or self._given.kind == "snapshot"

    def matrix(self, now: Frames) -> np.ndarray:
        """Return all of them (t, n), NaN where there are none."""
        found = np.asarray(now.inputs[self.need], float)
        found = found.reshape(len(found), -1)
        if self.places is None:
            return found
        chosen = np.full((len(found), len(self.places)), np.nan)
        if self.followed:
            block, self._now = ById.of(now.inputs, self.need, found), np.empty(chosen.shape, np.int64)
            for column, one in enumerate(self.followed):
                chosen[:, column], self._now[:, column] = one.column(now.first, block)
            self.absent = {place for place, one in zip(self.places, self.followed, strict=True) if not one.was}
            return chosen
        self.absent = set(self.places).difference(range(found.shape[1]))
        for column, place in enumerate(self.places):
            if place not in self.absent:
                chosen[:, column] = found[:, place]
        return chosen

    def again(self) -> np.ndarray | None:
        """Return which of the last `matrix` stand for a cell that one before them stands for, None where none do."""
        if self._now is None:
            return None
        columns = range(self._now.shape[1])
        twice = np.array([(self._now[:, :n] == self._now[:, n : n + 1]).any(1) for n in columns]).T
        return twice if twice.any() else None

    def value(self, now: Frames) -> np.ndarray:
        if self._given is not None and self._given.kind == "snapshot":
            return self._as_read(now)
        column: np.ndarray = self.matrix(now)[:, 0]
        return column

    def _as_read(self, now: Frames) -> np.ndarray:
        """One number of a snapshot: it is new with the last frame where it was read, and holds until then."""
        found = np.full(len(now.times_ns), self._newest)
        if (read := now.inputs[self.need]) is not None:
            flat, place = np.asarray(read, float).reshape(-1), self.places[0] if self.places else 0
            found[-1] = self._newest = float(flat[place]) if place < len(flat) else np.nan
        return found

    def memory(self) -> dict[str, float]:
        kept = [one.memory() for one in self.followed]
        at = {f"at.{n}": float(at) for n, (at, _) in enumerate(kept)}
        return {"newest": self._newest, **at, **{f"was.{n}": float(was) for n, (_, was) in enumerate(kept)}}

    def recall(self, memory: Mapping[str, float]) -> None:
        self._newest = memory["newest"]
        for n, one in enumerate(self.followed):
            one.recall(memory[f"at.{n}"], memory[f"was.{n}"])


class Reduced(Node):
    """One number of several: their mean, max, min, sum or median; NaN where one of them is not known.

    Cells that were merged into one count once.
    """

    OF: Mapping[str, Callable[..., np.ndarray]] = {
        "mean": np.mean, "max": np.max, "min": np.min, "sum": np.sum, "median": np.median,
    }  # fmt: skip

    def __init__(self, text: str, name: str, of: Node) -> None:
        super().__init__(text, of)
        self._name = name

    def _settle(self, given: Mapping[str, Gives]) -> None:
        (of,) = self.parts
        if not isinstance(of, Values) or given[of.need].kind == "snapshot":
            raise ConfigError(f"{self.text}: {self._name} is of the values of a step, found {of.text!r}")
        self.unit = of.unit

    def value(self, now: Frames) -> np.ndarray:
        of = self.parts[0]
        assert isinstance(of, Values)
        matrix, reduce = of.matrix(now), self.OF[self._name]
        if not matrix.shape[1]:
            return np.full(len(matrix), np.nan)
        found = reduce(matrix, axis=1)
        if of.places is not None and (again := of.again()) is not None:
            for n in np.flatnonzero(again.any(1)):
                found[n] = reduce(matrix[n, ~again[n]])
        return found


class RowCount(Node):
    """How many rows of a table speak of each of these frames."""

    def __init__(self, text: str, of: Values) -> None:
        super().__init__(text)
        self.of, self.unit = of, ""

    def _settle(self, given: Mapping[str, Gives]) -> None:
        if given[self.of.need].kind != "table":
            raise ConfigError(f"{self.text}: {self.of.need} is no table; count is the number of a table's rows")

    def value(self, now: Frames) -> np.ndarray:
        rows = np.asarray(now.inputs[self.of.need]["frame"]) - now.first
        here = rows[(rows >= 0) & (rows < len(now.times_ns))]
        return np.bincount(here, minlength=len(now.times_ns)).astype(float)


class Arithmetic(Node):
    """A sum, difference, product or quotient; a change of sign, an absolute value."""

    OF: Mapping[str, Callable[..., np.ndarray]] = {
        "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "negative": np.negative, "abs": np.abs,
    }  # fmt: skip

    def __init__(self, text: str, name: str, *parts: Node) -> None:
        super().__init__(text, *parts)
        self._name = name

    def _settle(self, given: Mapping[str, Gives]) -> None:
        self._settle_parts(NUMBER, self._name)
        if len(self.parts) == 1:
            self.unit = self.parts[0].unit
        elif self._name in "+-":
            self.unit = common_unit(self.text, *self.parts)
        else:
            left, right = (part.unit for part in self.parts)
            same = left == right and self._name == "/"
            self.unit = "" if same and left is not ANY_UNIT else left if right in (ANY_UNIT, "") else ANY_UNIT

    def value(self, now: Frames) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = self.OF[self._name](*(part.value(now) for part in self.parts))
        return np.where(np.isfinite(found), found, np.nan)


class Comparison(Node):
    """Two numbers compared, or two truths that are the same or not."""

    kind = TRUTH
    OF: Mapping[str, Callable[..., np.ndarray]] = {
        "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
    }  # fmt: skip

    def __init__(self, text: str, name: str, left: Node, right: Node) -> None:
        super().__init__(text, left, right)
        self._name, self._of_truth = name, False

    def _settle(self, given: Mapping[str, Gives]) -> None:
        left, right = self.parts
        needs_one(left)
        needs_one(right)
        if left.kind != right.kind and EITHER not in (left.kind, right.kind):
            raise ConfigError(f"{self.text!r} compares {left.text}, {left.kind}, with {right.text}, {right.kind}")
        self._of_truth = TRUTH in (left.kind, right.kind)
        if self._of_truth and self._name not in ("==", "!="):
            raise ConfigError(f"{self.text!r}: true and false are the same or not; write == or !=")
        common_unit(self.text, left, right)

    def value(self, now: Frames) -> np.ndarray:
        left, right = (truth(part, now) if self._of_truth else part.value(now) for part in self.parts)
        known = ~(np.isnan(left) | np.isnan(right))
        return np.where(known, self.OF[self._name](left, right), np.nan)


class Logic(Node):
    """`and`, `or`, `not` of what may be unknown: false and unknown is false, true or unknown is true."""

    kind = TRUTH

    def __init__(self, text: str, name: str, *parts: Node) -> None:
        super().__init__(text, *parts)
        self._name = name

    def _settle(self, given: Mapping[str, Gives]) -> None:
        self._settle_parts(TRUTH, self._name)

    def value(self, now: Frames) -> np.ndarray:
        found = [truth(part, now) for part in self.parts]
        if self._name == "not":
            return 1 - found[0]
        decides = 0.0 if self._name == "and" else 1.0
        decided = np.logical_or.reduce([one == decides for one in found])
        unknown = np.logical_or.reduce([np.isnan(one) for one in found])
        return np.where(decided, decides, np.where(unknown, np.nan, 1 - decides))
