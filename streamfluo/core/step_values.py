"""The seam: what an operator gives is checked against what it declares, before anything behind it trusts it.

A `Gate` stands between a step and everything that takes its results: session, publisher, other steps. What passes are
`StepValues`: copies, read-only, of types that the wire and the disk carry. What does not pass raises FrameError, and
the chain mutes the step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .block import Block
from .errors import FrameError, did_you_mean
from .operator import Gives, Operator, Output, Table
from .results import MAX_ARRAYS, MAX_RESULT_BYTES, RESULT_DTYPES

IDS, PRESENT, MERGED = "ids", "present", "merged"  # what steps that know them give beside values by id
ARRAY_BYTES = 200  # what an array costs beside its elements; 300 B measured for one with its name in a dictionary
_EXACT = {"i1": "<i2", "f2": "<f4"}  # types that the wire lacks, and one that holds each of their values


@dataclass(frozen=True, slots=True)
class StepValues:
    """Values of a step for `frames` frames from `index` on: read-only arrays, a table's columns as `table/column`.

    `frames` is 0 where there are tables alone. `nbytes` is what all of it takes in memory.
    """

    step: str
    index: int
    frames: int
    arrays: Mapping[str, np.ndarray]
    nbytes: int

    def value(self, name: str) -> np.ndarray | Table:
        """Return a value by the name the operator gave it. Raises FrameError if it gave none for these frames."""
        if name in self.arrays:
            return self.arrays[name]
        columns = {n.partition("/")[2]: a for n, a in self.arrays.items() if n.startswith(f"{name}/")}
        if not columns:
            raise FrameError(f"step {self.step!r} gave no {name!r} for these frames")
        return Table(columns)


def sized(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the bytes that arrays by name take in memory."""
    return sum(a.nbytes + ARRAY_BYTES for a in arrays.values())


class Gate:
    """What one step may give, by its operator's `gives`, and in which shape it gave it before.

    Each check raises FrameError: name, what was expected, what was found.
    """

    def __init__(self, step: str, operator: Operator) -> None:
        self._step, self._operator = step, operator
        self._gives = {g.name: g for g in operator.gives}
        self._widths: dict[str, tuple[int, ...]] = {}  # of the values of one frame, as they were first
        self._handed_on: int | None = None  # one past the last frame handed on

    def given(self, name: str) -> Gives:
        """Return what is declared of a value."""
        return self._gives[name]

    def beside(self, name: str) -> tuple[str, ...]:
        """Return what else a step takes with a value: of one by id IDS, and where they are given PRESENT and MERGED."""
        if self._gives[name].kind != "by_id":
            return ()
        return (IDS, *(about for about in (PRESENT, MERGED) if about in self._gives))

    def values(self, output: Any, block: Block | None) -> StepValues | None:
        """Return what an update of `block` (None: the end of the series) gave, None if that is nothing."""
        if not isinstance(output, Output):
            raise FrameError(f"update must return an Output, found {type(output).__name__}")
        self._check_frames(output, block)
        if not isinstance(output.values, Mapping):
            raise FrameError(f"values must be a mapping of names, found {type(output.values).__name__}")
        if not output.values:
            return None
        index, frames = output.index, None
        if not isinstance(index, int | np.integer) or index < 0:
            raise FrameError(f"index of an Output must be an integer ≥ 0, found {index!r}")
        if block is not None and self._operator.frame_axis == "same":
            frames = len(block)
            if index != block.index:
                raise FrameError(f"index of an Output must be that of its block, {block.index}, found {index}")
        arrays: dict[str, np.ndarray] = {}
        for name, value in output.values.items():
            arrays |= self._checked(name, value)
        lengths = {len(a) for name, a in arrays.items() if name != IDS and "/" not in name}
        if frames is not None and lengths - {frames}:
            wrong = next(n for n, a in arrays.items() if n != IDS and "/" not in n and len(a) != frames)
            raise FrameError(f"value {wrong!r} has {len(arrays[wrong])} rows for {frames} frames")
        if len(lengths) > 1:
            raise FrameError(f"values of {sorted(lengths)} frames in one Output; give all for the same frames")
        self._check_complete(arrays)
        self._check_ids(arrays)
        nbytes = sized(arrays)
        if nbytes > MAX_RESULT_BYTES or len(arrays) > MAX_ARRAYS:
            raise FrameError(
                f"{len(arrays)} arrays of {nbytes} bytes in one Output; {MAX_ARRAYS} and {MAX_RESULT_BYTES} is the most"
            )
        return StepValues(self._step, int(index), lengths.pop() if lengths else 0, arrays, nbytes)

    def snapshots(self, found: Any) -> dict[str, np.ndarray]:
        """Return snapshots that were read, checked like values."""
        if not isinstance(found, Mapping):
            raise FrameError(f"read must return a mapping of names, found {type(found).__name__}")
        checked = {}
        for name, array in found.items():
            given = self._declared(name, ("snapshot",))
            checked[name] = _array(name, array, given.dims)
        return checked

    def _checked(self, name: str, value: Any) -> dict[str, np.ndarray]:
        if name == IDS and any(g.kind == "by_id" for g in self._gives.values()):
            none_yet = isinstance(value, np.ndarray) and value.shape == (0,)
            return {IDS: _array(IDS, value.astype(np.int64) if none_yet else value, ("id",))}
        given = self._declared(name, ("per_frame", "by_id", "table"))
        if given.kind == "table":
            return self._table(given, value)
        array = _array(name, value, given.dims)
        if given.kind == "per_frame" and (was := self._widths.setdefault(name, array.shape[1:])) != array.shape[1:]:
            raise FrameError(
                f"value {name!r} of a frame was {was}, now {array.shape[1:]}; give by id what comes and goes"
            )
        return {name: array}

    def _declared(self, name: Any, kinds: Collection[str]) -> Gives:
        given = self._gives.get(name) if isinstance(name, str) else None
        if given is None or given.kind not in kinds:
            known = [g.name for g in self._gives.values() if g.kind in kinds]
            raise FrameError(f"{name!r} is not declared in gives{did_you_mean(str(name), known)}")
        return given

    def _table(self, given: Gives, value: Any) -> dict[str, np.ndarray]:
        if not isinstance(value, Table):
            raise FrameError(f"value {given.name!r} is declared as a table, found {type(value).__name__}")
        if sorted(value) != sorted(given.dims):
            raise FrameError(
                f"table {given.name!r}: columns {', '.join(given.dims)} expected, found {', '.join(value)}"
            )
        columns = {f"{given.name}/{c}": _array(f"{given.name}/{c}", value[c], ("row",)) for c in given.dims}
        if columns[f"{given.name}/frame"].dtype.kind not in "iu":
            raise FrameError(f"table {given.name!r}: 'frame' holds indices, found {value['frame'].dtype}")
        return columns

    def _check_frames(self, output: Output, block: Block | None) -> None:
        after, spec = output.block, self._operator.out_spec
        if after is not None and not isinstance(after, Block):
            raise FrameError(f"block of an Output must be a Block or None, found {type(after).__name__}")
        if after is not None and (after.shape[1:] != spec.shape or after.dtype != spec.dtype):
            found = f"{after.shape[1:]} {after.dtype.name}"
            raise FrameError(f"hands on frames {found}; its out_spec says {spec.shape} {spec.dtype}")
        if block is not None and self._operator.frame_axis == "same":
            then = after or block
            if output.held or (then.index, len(then)) != (block.index, len(block)):
                raise FrameError("hands on other frames than it sees, so it must declare frame_axis = 'own'")
        if after is not None:
            if self._handed_on is not None and after.index < self._handed_on:
                raise FrameError(f"hands on frame {after.index} after frame {self._handed_on - 1}")
            self._handed_on = after.stop

    def _check_complete(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Rows of all values of a kind stand for the same frames, so they come together or not at all."""
        for kind in ("per_frame", "by_id"):
            declared = {g.name for g in self._gives.values() if g.kind == kind and g.name != IDS}
            missing = sorted(declared - arrays.keys())
            if missing and declared & arrays.keys():
                raise FrameError(f"value {missing[0]!r} is missing beside {sorted(declared & arrays.keys())[0]!r}")

    def _check_ids(self, arrays: Mapping[str, np.ndarray]) -> None:
        by_id = [n for n in arrays if n in self._gives and self._gives[n].kind == "by_id" and n != IDS]
        if not by_id:
            return
        ids = arrays.get(IDS)
        if ids is None or ids.dtype.kind not in "iu" or not _distinct(ids):
            raise FrameError(f"value {by_id[0]!r} is given by id and needs 'ids' (K,), distinct integers")
        for name in by_id:
            if arrays[name].shape[1] != len(ids):
                raise FrameError(f"value {name!r} has {arrays[name].shape[1]} columns for {len(ids)} ids")


def _distinct(ids: np.ndarray) -> bool:
    """Whether no id is there twice; np.unique takes .2 to .4 ms, and most ids rise."""
    return bool((ids[1:] > ids[:-1]).all()) or len(np.unique(ids)) == len(ids)


def _array(name: str, value: Any, dims: tuple[str, ...]) -> np.ndarray:
    """A read-only copy of a type that the wire carries."""
    if not isinstance(value, np.ndarray | np.generic) or (dims and not isinstance(value, np.ndarray)):
        raise FrameError(f"value {name!r} must be an array ({', '.join(dims)}), found {type(value).__name__}")
    if value.ndim != len(dims):
        raise FrameError(f"value {name!r} must be an array ({', '.join(dims)}), found one of shape {value.shape}")
    dtype = _carried(value.dtype)
    if dtype is None:
        carried = " ".join(RESULT_DTYPES)
        raise FrameError(f"value {name!r} is {value.dtype}, which results do not carry; convert it to one of {carried}")
    array = np.array(value, dtype, order="C")
    array.flags.writeable = False
    return array


@lru_cache(maxsize=1024)  # a step with 36 columns spent .15 ms a frame with these, of the 4 ms until it is decided
def _carried(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type that the wire carries for one, None if there is none."""
    little = dtype.newbyteorder("<")
    carried = np.dtype(_EXACT.get(little.str[1:], little.str))
    return carried if carried.str in RESULT_DTYPES or dtype.kind == "U" else None
