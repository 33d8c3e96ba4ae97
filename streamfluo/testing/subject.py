"""An operator under test: the movie it sees, how its results are put together and compared."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.operator import NO_VALUES, Operator, Output, Table, Values
from ..core.spec import Spec

GAPS = (range(41, 46), range(97, 130))  # one inside a grid cell, one over a whole cell
FRAMES = 150
TOLERANCE = 1e-12  # of an array's scale, where sums may be added in another order
RIM_TOLERANCE = 1e-4  # of an array's scale, within an unseen rim: filters in float32 sum in another order
RIM_PX = 12  # of frames that were not seen at the bottom and at the right: whole bins of 2, 3, 4 or 6

Arrays = dict[str, np.ndarray]
Inputs = Callable[[Block], Values]


@dataclass
class Subject:
    """An operator under test: how to build one for a spec, the movie it sees, the inputs it needs for a block."""

    build: Callable[[Spec], Operator]
    spec: Spec
    inputs: Inputs = field(default=lambda block: NO_VALUES)
    movie: np.ndarray | None = None  # None: sample_movie
    rim_tolerance: float = RIM_TOLERANCE

    def make(self) -> Operator:
        """A new operator for the movie's spec."""
        return self.build(self.spec)

    def blocks(self, sizes: Sequence[int] = (32,), start: int = 0, stop: int = FRAMES) -> list[Block]:
        """The movie's frames with start ≤ index < stop, cut into blocks of these sizes in turn, and at gaps."""
        movie, blocks = sample_movie(self.spec) if self.movie is None else self.movie, list[Block]()
        edges = [0, *(edge for gap in GAPS for edge in (gap.start, gap.stop)), FRAMES]
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            at, end = max(first, start), min(last, stop)
            while at < end:
                upto = min(at + sizes[len(blocks) % len(sizes)], end)
                blocks.append(Block(at, np.arange(at, upto) * 1_000_000, movie[at:upto]))
                at = upto
        return blocks

    def feed(self, operator: Operator, blocks: Sequence[Block], call_gap: bool = False) -> list[Arrays]:
        """Run blocks through an operator; a gap is a jump of the index, or with `call_gap` told beforehand."""
        outputs, expected = [], blocks[0].index if blocks else 0
        for block in blocks:
            if call_gap and block.index > expected:
                operator.gap(expected, block.index - expected)
            outputs.append(copied(flat(operator.update(block, self.inputs(block)))))
            expected = block.stop
        return outputs

    def results(self, operator: Operator, outputs: Sequence[Arrays]) -> Arrays:
        """Everything that came out: values, frames handed on, snapshots, what was held back."""
        everything = [*outputs, copied(flat(operator.finish() or Output(0)))]
        snapshots = {f"snapshot {name}": array for name, array in copied(operator.read()).items()}
        return {**joined(operator, everything), **snapshots}

    def whole(self, sizes: Sequence[int] = (32,), start: int = 0, call_gap: bool = False) -> Arrays:
        """What a fresh operator makes of the movie from frame `start` on, in blocks of these sizes."""
        operator = self.make()
        return self.results(operator, self.feed(operator, self.blocks(sizes, start), call_gap))


def kernels(operator: Operator) -> list[Any]:
    """The functions compiled by numba that an operator may call; none where numba was not loaded.

    Of an operator of ours they are those of its science and of `pixels`, else all but numba's own.
    """
    if (numba := sys.modules.get("numba.core.dispatcher")) is None:
        return []
    package, room, *_ = (*type(operator).__module__.split("."), "")
    objects: Iterable[Any]
    if package == __name__.split(".")[0]:
        near = (f"{package}.{room}.", f"{package}.pixels.")
        modules = [module for name, module in list(sys.modules.items()) if name.startswith(near)]
        objects = [o for module in modules for o in vars(module).values()]
    else:
        gc.unfreeze()  # what is frozen is not among the objects: kernels would be missed, and what they compile
        objects = gc.get_objects()  # an eighth of a second
    found = {id(o): o for o in objects if issubclass(type(o), numba.Dispatcher)}.values()
    return [kernel for kernel in found if not kernel.py_func.__module__.startswith("numba.")]


def sample_movie(spec: Spec) -> np.ndarray:
    """150 frames far from zero, where sums not taken about a pivot lose digits; extremes lie in every part."""
    return _sample_movie(spec.shape, np.dtype(spec.dtype)).copy()


@lru_cache(maxsize=4)  # a law asks some fifty times
def _sample_movie(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    rng = np.random.default_rng(11)
    level = 100 if dtype.itemsize == 1 else 10_000
    movie = level + rng.normal(0, level / 100, (FRAMES, *shape))
    movie[:, 0] *= np.exp(-np.abs(rng.normal(0, 8, movie[:, 0].shape)))  # sums of such floats depend on their order
    movie[0] *= 1.5
    movie[[20, 60, 92, 135]] *= rng.uniform(0.2, 2, (4, *shape))
    return movie.astype(dtype)


def spoilt_movie(spec: Spec) -> np.ndarray:
    """sample_movie with a hot pixel, dark frames and full ones; of floats with holes as well."""
    movie = sample_movie(spec)
    full = 1e5 if movie.dtype.kind == "f" else np.iinfo(movie.dtype).max
    movie[[3, 70, 71]] = movie.min()
    movie[:, spec.shape[0] // 2, spec.shape[1] // 2] = full
    movie[[36, 80]] = full
    if movie.dtype.kind == "f":
        movie[60:66, : spec.shape[0] // 3, : spec.shape[1] // 3] = np.nan
        movie[[74, 131]] = np.nan
    return movie


def moving_scene(spec: Spec) -> np.ndarray:
    """150 float frames of one uneven scene under noise, half a pixel from the first, moved by one now and then."""
    rng = np.random.default_rng(12)
    height, width = spec.shape
    pattern = rng.random((height + 8, width + 8))
    for axis in (0, 1, 0, 1):  # twice a box of five pixels: blobs of about 7 px
        pattern = np.mean([np.roll(pattern, k, axis) for k in range(5)], axis=0)
    scene = 1000 + 150 * (pattern - pattern.mean()) / pattern.std()
    between = (scene[:-1, :-1] + scene[1:, :-1] + scene[:-1, 1:] + scene[1:, 1:]) / 4
    at = np.round(3 + np.sin(np.arange(FRAMES)[:, None] / (9, 14))).astype(int)
    frames = np.array([(between if t else scene)[y : y + height, x : x + width] for t, (y, x) in enumerate(at)])
    return (frames + rng.normal(0, 60, frames.shape)).astype(spec.dtype)


def fed_part(subject: Subject, start: int, stop: int) -> Any:
    operator = subject.make()
    subject.feed(operator, subject.blocks(start=start, stop=stop))
    return operator


def flat(output: Output) -> Arrays:
    """What was handed out as arrays by name: a table's columns as `table/column`, and what a block is made of."""
    arrays: Arrays = {}
    for name, value in output.values.items():
        arrays |= {f"{name}/{c}": a for c, a in value.items()} if isinstance(value, Table) else {name: value}
    if (block := output.block) is not None:
        index = np.arange(block.index, block.stop)
        arrays |= {"block's pixels": block.pixels, "block's times": block.times_ns, "block's index": index}
    return arrays


def spoil(value: Any) -> None:
    """Change every element of an array, where it can be written to."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = ~value.astype(bool)


def joined(operator: Operator, outputs: Sequence[Arrays]) -> Arrays:
    """The outputs end to end; `by_id` values with a column for every id that ever was, 0 before its birth."""
    ids = sorted({i for arrays in outputs for i in arrays.get("ids", np.array(())).tolist()})
    parts: dict[str, list[np.ndarray]] = {"ids": [np.array(ids)]}
    for arrays in outputs:
        columns = [ids.index(i) for i in arrays.get("ids", np.array(())).tolist()]
        for name in arrays.keys() - {"ids"}:
            array = arrays[name]
            if any(g.name == name and g.kind == "by_id" for g in operator.gives):
                array = np.zeros((len(array), len(ids), *array.shape[2:]), array.dtype)
                array[:, columns] = arrays[name]
            parts.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def copied(state: Mapping[str, Any]) -> Arrays:
    return {name: np.array(value) for name, value in state.items()}


def through_a_file(state: Mapping[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    np.savez(file, **{name: a for name, a in state.items() if isinstance(a, np.ndarray)})  # type: ignore[arg-type]
    file.seek(0)
    return {**state, **np.load(file, allow_pickle=False)}


def same(found: Arrays, expected: Arrays, what: str, tolerance: float | None = None) -> None:
    """Raise AssertionError unless all arrays agree: to the bit, or within `tolerance` of each one's largest value."""
    assert found.keys() == expected.keys(), f"{what}: {sorted(found)} instead of {sorted(expected)}"
    for name, array in expected.items():
        got, bits = found[name], f"V{array.dtype.itemsize}"
        kind, wanted = ((a.shape, a.dtype) for a in (got, array))
        assert kind == wanted, f"{what} in {name!r}: {kind} instead of {wanted}"
        if tolerance is None or array.dtype.kind == "U":
            wrong = np.array(got.reshape(-1).view(bits) != array.reshape(-1).view(bits)).reshape(array.shape)
        else:
            near = np.abs(got.astype(float) - array) <= tolerance * np.abs(array[np.isfinite(array)]).max(initial=0)
            wrong = ~(near | (np.isnan(got) & np.isnan(array)))
        for place in map(tuple, np.argwhere(wrong)[:1].tolist()):
            raise AssertionError(f"{what} in {name!r} at {place}: {got[place]} instead of {array[place]}")
