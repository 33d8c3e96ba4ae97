"""The laws every operator keeps, for your own operator's tests.

    from streamfluo.testing import LAWS, check_laws

    check_laws("threshold", Spec((13, 17), "uint16"), level_adu=40.0)      # raises AssertionError, naming the law

Each law runs a small movie with two gaps through operators it makes itself. Laws share blind spots with the code they
compare, so an operator also needs a batch oracle: the textbook formula over the whole movie, sharing no code with it.
"""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from itertools import pairwise
from typing import Any

import numpy as np

from .core.block import Block
from .core.errors import ConfigError, StateError
from .core.operator import NO_VALUES, Mergeable, Operator, Output, Table, Values
from .core.registry import create
from .core.spec import Spec
from .core.state import check_state

GAPS = (range(41, 46), range(97, 130))  # one inside a grid cell, one over a whole cell
FRAMES = 150
TOLERANCE = 1e-12  # of an array's scale, where sums may be added in another order

Arrays = dict[str, np.ndarray]
Inputs = Callable[[Block], Values]


@dataclass
class Subject:
    """An operator under test: how to make one, the frames it sees, and the inputs it needs for a block."""

    make: Callable[[], Operator]
    spec: Spec
    inputs: Inputs = field(default=lambda block: NO_VALUES)

    def blocks(self, sizes: Sequence[int] = (32,), start: int = 0, stop: int = FRAMES) -> list[Block]:
        """The movie's frames with start ≤ index < stop, cut into blocks of these sizes in turn, and at gaps."""
        movie, blocks = _movie(self.spec), list[Block]()
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
            outputs.append(_copied(_flat(operator.update(block, self.inputs(block)))))
            expected = block.stop
        return outputs

    def results(self, operator: Operator, outputs: Sequence[Arrays]) -> Arrays:
        """Everything that came out: values, frames handed on, snapshots, what was held back."""
        everything = [*outputs, _copied(_flat(operator.finish() or Output(0)))]
        snapshots = {f"snapshot {name}": array for name, array in _copied(operator.read()).items()}
        return {**_joined(operator, everything), **snapshots}

    def whole(self, sizes: Sequence[int] = (32,), start: int = 0, call_gap: bool = False) -> Arrays:
        """What a fresh operator makes of the movie from frame `start` on, in blocks of these sizes."""
        operator = self.make()
        return self.results(operator, self.feed(operator, self.blocks(sizes, start), call_gap))


LAWS: dict[str, Callable[[Subject], None]] = {}  # by name, in the order they are checked


def _law(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Put a law into LAWS; what it raises names the operator and the law."""

    @wraps(check)
    def named(subject: Subject) -> None:
        try:
            check(subject)
        except (AssertionError, StateError) as error:
            raise AssertionError(f"{subject.make().kind} breaks {check.__name__}: {error}") from None

    LAWS[check.__name__] = named
    return named


@_law
def input_untouched(subject: Subject) -> None:
    """An operator never writes to what it was given, not even behind the block's read-only view."""
    operator, given = subject.make(), []
    for block in subject.blocks((7, 32)):
        inputs, times, pixels = subject.inputs(block), block.times_ns.copy(), block.pixels.copy()
        mine = {**_flat(Output(0, inputs)), "times": times, "pixels": pixels}
        given.append((mine, _copied(mine)))
        operator.update(Block(block.index, times, pixels), inputs)
    subject.results(operator, [])
    for mine, copies in given:
        _same(mine, copies, "what it was given was written to")


@_law
def pixels_are_borrowed(subject: Subject) -> None:
    """An operator copies what it needs of its pixels beyond `update`: their memory is used again."""
    operator, outputs = subject.make(), []
    for block in subject.blocks((7, 32)):
        pixels = block.pixels.copy()
        arrays = _flat(operator.update(Block(block.index, block.times_ns, pixels), subject.inputs(block)))
        outputs.append({name: np.array(a) if name.startswith("block's") else a for name, a in arrays.items()})
        _spoil(pixels)
    _same(subject.results(operator, outputs), subject.whole((7, 32)), "frames' memory used again changed the results")


@_law
def read_is_pure(subject: Subject) -> None:
    """Reading changes nothing: the same twice, the same state after, and what was read is the reader's own."""
    read, unread = subject.make(), subject.make()
    found, expected, kept = [], [], []
    for block in subject.blocks((7, 32)):
        before, first = _copied(read.state()), _copied(read.read())
        kept.append((read.read(), first))
        for name, array in read.read().items():
            _spoil(array)
            _same(_copied(read.read([name])), {name: first[name]}, "read by name, or after writing to it, differs")
        _same(_copied(read.read()), first, "reading twice differs")
        _same(_copied(read.state()), before, "reading changed the state")
        found += subject.feed(read, [block])
        expected += subject.feed(unread, [block])
    for handed, copies in kept:
        _same(_copied(handed), copies, "later updates wrote over what was read before")
    _same(subject.results(read, found), subject.results(unread, expected), "having been read changed what came later")


@_law
def state_is_a_copy(subject: Subject) -> None:
    """A state is flat and plain, replaces all that was there, and shares no memory with who gave or took it."""
    operator, taker = subject.make(), subject.make()
    subject.feed(operator, subject.blocks((19,), stop=60))
    subject.feed(taker, subject.blocks((19,), start=90, stop=140))
    state = check_state(operator.state(), operator.kind)
    kept, before = operator.state(), _copied(state)
    taker.restore(state)
    _same(_copied(taker.state()), before, "an operator that had seen other frames is not what it was restored to")
    for value in state.values():
        _spoil(value)
    _same(_copied(operator.state()), before, "changing the state it gave changed the operator")
    _same(_copied(taker.state()), before, "changing the state it took changed the operator")
    subject.feed(operator, subject.blocks((19,), start=60))
    _same(_copied(kept), before, "later updates wrote over the state given before")


@_law
def resume_equals_unbroken(subject: Subject) -> None:
    """An operator restored before, in the middle of or after the frames goes on to the same bits."""
    whole = subject.whole()
    for at in (0, 1, 20, 32, 43, 50, 110, 140, FRAMES):
        first, second = subject.make(), subject.make()
        outputs = subject.feed(first, subject.blocks(stop=at))
        second.restore(_through_a_file(first.state()))
        outputs += subject.feed(second, subject.blocks(start=at))
        _same(subject.results(second, outputs), whole, f"resuming at frame {at} differs")


@_law
def cuts_change_nothing(subject: Subject) -> None:
    """However frames are cut into blocks, and however a gap is told, the results are the same bits."""
    random = np.random.default_rng(5).integers(1, 40, 200).tolist()
    for start in (0, 13):
        whole = subject.whole(start=start)
        for name, sizes in {"1": [1], "2": [2], "odd": [5, 31, 2], "33": [33], "random": random}.items():
            for told in (False, True):
                what = f"from frame {start} on, blocks of {name} with gaps {'told' if told else 'seen'} differ"
                _same(subject.whole(sizes, start, told), whole, what)


@_law
def parts_equal_whole(subject: Subject) -> None:
    """Parts computed apart and merged equal the whole, also where frames follow; parts absorbed stay as they were."""
    if not isinstance(whole := _part(subject, 0, FRAMES), Mergeable):
        return
    expected = _copied(whole.read())
    for cuts in ((0, 75), (0, 1, 2, 40), (0, 32, 64, 96), (0, 41, 100)):
        for edges in ((*cuts, FRAMES), cuts):
            first, *rest = [_part(subject, *edge) for edge in pairwise(edges)]
            before = [_copied(part.state()) for part in rest]
            for part in rest:
                first.merge(part)
            subject.feed(first, subject.blocks(start=edges[-1]))
            _same(_copied(first.read()), expected, f"parts cut at {edges[1:]} differ from the whole", TOLERANCE)
            for part, state in zip(rest, before, strict=True):
                _same(_copied(part.state()), state, "merging changed the part that was absorbed")


@_law
def empty_is_identity(subject: Subject) -> None:
    """Merging with an operator that has seen nothing changes no bit, on either side, now or later."""
    for stop, empty_first in ((77, True), (77, False), (FRAMES, True), (FRAMES, False)):
        part, empty = _part(subject, 3, 77), _part(subject, 3, 3)
        if not isinstance(part, Mergeable):
            return
        first, second = (empty, part) if empty_first else (part, empty)
        before = _copied(second.state())
        first.merge(second)
        subject.feed(first, subject.blocks(start=77, stop=stop))
        expected = _copied(_part(subject, 3, stop).read())
        _same(_copied(first.read()), expected, f"an empty part {'before' if empty_first else 'behind'} it counts")
        _same(_copied(second.state()), before, "merging changed the part that was absorbed")


@_law
def merging_is_associative(subject: Subject) -> None:
    """(a + b) + c equals a + (b + c)."""
    (a, b, c), (d, e, f) = ([_part(subject, *cut) for cut in ((0, 37), (37, 80), (80, FRAMES))] for _ in range(2))
    if isinstance(a, Mergeable):
        a.merge(b)
        a.merge(c)
        e.merge(f)
        d.merge(e)
        _same(_copied(a.read()), _copied(d.read()), "merging from the left and from the right differ", TOLERANCE)


@_law
def nothing_compiles_later(subject: Subject) -> None:
    """No kernel is compiled, nor loaded from numba's cache, once frames flow."""
    for kernel in _kernels():
        kernel._reset_overloads()  # what an earlier operator compiled would hide what this one compiles late
    operator, other = (_part(subject, 0, 0) for _ in range(2))
    built = {f"{kernel.py_func.__qualname__}{signature}" for kernel in _kernels() for signature in kernel.signatures}
    subject.results(operator, subject.feed(operator, subject.blocks((1, 32, 5)), call_gap=True))
    other.restore(operator.state())
    if isinstance(operator, Mergeable):
        operator.merge(other)
    now = {f"{kernel.py_func.__qualname__}{signature}" for kernel in _kernels() for signature in kernel.signatures}
    assert now <= built, f"compiled while frames flowed: {', '.join(sorted(now - built))}"


@_law
def what_is_given_is_declared(subject: Subject) -> None:
    """Every value, snapshot and frame handed out is in `gives` with its kind, and `out_spec` tells the truth."""
    operator, hands_on = subject.make(), False
    frames = any(g.kind == "frames" for g in operator.gives)
    for block in subject.blocks((1, 32, 9)):
        output = operator.update(block, subject.inputs(block))
        _check_declared(operator, output, len(block))
        after = output.block or block
        same = not output.held and (after.index, len(after)) == (block.index, len(block))
        assert same or operator.frame_axis == "own", f"hands on other frames than the block at {block.index}"
        hands_on = hands_on or output.held or output.block is not None
    assert hands_on == frames, (
        f"frames are {'' if frames else 'not '}declared, but {'' if hands_on else 'not '}handed on"
    )
    _check_declared(operator, operator.finish() or Output(0), None)
    snapshots = {g.name: len(g.dims) for g in operator.gives if g.kind == "snapshot"}
    found = {name: np.ndim(array) for name, array in operator.read().items()}
    assert found == snapshots, f"read gives these snapshots with so many axes: {found}, declared are {snapshots}"
    with suppress(ConfigError):
        operator.read(["no such snapshot"])
        assert not snapshots, "a snapshot it does not give is not refused"


@_law
def values_stay(subject: Subject) -> None:
    """What was handed out is not written over by later updates."""
    operator, kept = subject.make(), []
    for block in subject.blocks((3, 32)):
        arrays = _flat(operator.update(block, subject.inputs(block)))
        kept.append((arrays, _copied(arrays)))
    for arrays, copies in kept:
        _same(_copied(arrays), copies, "a later update wrote over what was handed out before")


@_law
def devices_agree(subject: Subject) -> None:
    """Twins on other devices give the CPU's results."""
    operator = subject.make()
    for device in set(operator.devices) - {operator.device}:
        try:
            twin = type(operator)(operator.params, operator.spec, device)
        except ConfigError:
            continue  # not to be had on this machine
        found = subject.results(twin, subject.feed(twin, subject.blocks()))
        _same(found, subject.whole(), f"{device} and {operator.device} differ", TOLERANCE)


def check_laws(kind: str, spec: Spec, inputs: Inputs = lambda block: NO_VALUES, **params: Any) -> None:
    """Check all laws on one registered operator. Raises AssertionError that names the law and what differed."""
    for law in LAWS.values():
        law(Subject(lambda: create(kind, spec, **params), spec, inputs))


def _check_declared(operator: Operator, output: Output, frames: int | None) -> None:
    declared = {g.name: g for g in operator.gives}
    for name, value in output.values.items():
        if name == "ids" and any(g.kind == "by_id" for g in operator.gives):
            continue
        assert name in declared, f"value {name!r} is not declared"
        kind, axes = declared[name].kind, len(declared[name].dims)
        if isinstance(value, Table):
            assert kind == "table", f"value {name!r} is a table, declared is {kind}"
        else:
            fits = kind in ("per_frame", "by_id") and value.ndim == axes and frames in (None, len(value))
            assert fits, f"value {name!r} is {value.shape} for {frames} frames, declared is {kind} with {axes} axes"
    if output.block is not None:
        spec, seen = operator.out_spec, output.block.pixels[0]
        found = f"out_spec says {spec.shape} {spec.dtype}, frames are {seen.shape} {seen.dtype}"
        assert (seen.shape, seen.dtype.name) == (spec.shape, spec.dtype), found


def _kernels() -> list[Any]:
    """Every function compiled by numba in this process but numba's own; none where numba was not loaded."""
    numba: Any = sys.modules.get("numba.core.dispatcher")
    found: list[Any] = [o for o in gc.get_objects() if numba and issubclass(type(o), numba.Dispatcher)]
    return [kernel for kernel in found if not kernel.py_func.__module__.startswith("numba.")]


def _movie(spec: Spec) -> np.ndarray:
    """150 frames far from zero, where sums not taken about a pivot lose digits; extremes lie in every part."""
    rng, dtype = np.random.default_rng(11), np.dtype(spec.dtype)
    level = 100 if dtype.itemsize == 1 else 10_000
    movie = level + rng.normal(0, level / 100, (FRAMES, *spec.shape))
    movie[:, 0] *= np.exp(-np.abs(rng.normal(0, 8, movie[:, 0].shape)))  # sums of such floats depend on their order
    movie[0] *= 1.5
    movie[[20, 60, 92, 135]] *= rng.uniform(0.2, 2, (4, *spec.shape))
    return movie.astype(dtype)


def _part(subject: Subject, start: int, stop: int) -> Any:
    operator = subject.make()
    subject.feed(operator, subject.blocks(start=start, stop=stop))
    return operator


def _flat(output: Output) -> Arrays:
    """What was handed out as arrays by name: a table's columns as `table/column`, and what a block is made of."""
    arrays: Arrays = {}
    for name, value in output.values.items():
        arrays |= {f"{name}/{c}": a for c, a in value.items()} if isinstance(value, Table) else {name: value}
    if (block := output.block) is not None:
        index = np.arange(block.index, block.stop)
        arrays |= {"block's pixels": block.pixels, "block's times": block.times_ns, "block's index": index}
    return arrays


def _spoil(value: Any) -> None:
    """Change every element of an array, where it can be written to."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = ~value.astype(bool)


def _joined(operator: Operator, outputs: Sequence[Arrays]) -> Arrays:
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


def _copied(state: Mapping[str, Any]) -> Arrays:
    return {name: np.array(value) for name, value in state.items()}


def _through_a_file(state: Mapping[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    np.savez(file, **{name: a for name, a in state.items() if isinstance(a, np.ndarray)})  # type: ignore[arg-type]
    file.seek(0)
    return {**state, **np.load(file, allow_pickle=False)}


def _same(found: Arrays, expected: Arrays, what: str, tolerance: float | None = None) -> None:
    """Raise AssertionError unless all arrays agree: to the bit, or within `tolerance` of each one's largest value."""
    assert found.keys() == expected.keys(), f"{what}: {sorted(found)} instead of {sorted(expected)}"
    for name, array in expected.items():
        got, bits = found[name], f"V{array.dtype.itemsize}"
        kind, wanted = ((a.shape, a.dtype) for a in (got, array))
        assert kind == wanted, f"{what} in {name!r}: {kind} instead of {wanted}"
        if tolerance is None:
            wrong = np.array(got.reshape(-1).view(bits) != array.reshape(-1).view(bits)).reshape(array.shape)
        else:
            near = np.abs(got.astype(float) - array) <= tolerance * np.abs(np.nan_to_num(array)).max(initial=0)
            wrong = ~(near | (np.isnan(got) & np.isnan(array)))
        for place in map(tuple, np.argwhere(wrong)[:1].tolist()):
            raise AssertionError(f"{what} in {name!r} at {place}: {got[place]} instead of {array[place]}")
