"""The laws every operator keeps, for your own operator's tests.

    from streamfluo.testing import LAWS, check_laws

    check_laws("threshold", Spec((13, 17), "uint16"), level_adu=40.0)      # raises AssertionError, naming the law

Each law runs a small movie with two gaps through operators it makes itself. Laws share blind spots with the code they
compare, so an operator also needs a batch oracle: the textbook formula over the whole movie, sharing no code with it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from .core.block import Block
from .core.errors import ConfigError
from .core.operator import NO_VALUES, Mergeable, Operator, Output, Table, Values
from .core.registry import create
from .core.spec import Spec
from .core.state import check_state

GAPS = (range(41, 46), range(97, 130))  # one inside a grid cell, one over a whole cell
FRAMES = 150
TOLERANCE = 1e-12  # of an array's scale, where sums may be added in another order

Arrays = dict[str, np.ndarray]


@dataclass
class Subject:
    """An operator under test: how to make one, the frames it sees, and the inputs it needs for a block."""

    make: Callable[[], Operator]
    spec: Spec
    inputs: Callable[[Block], Values] = field(default=lambda block: NO_VALUES)

    def blocks(self, sizes: Sequence[int] = (32,), start: int = 0, stop: int = FRAMES) -> list[Block]:
        """The movie's frames with start ≤ index < stop, cut into blocks of these sizes in turn, and at gaps."""
        return list(_cut(_movie(self.spec), sizes, start, stop))

    def feed(self, operator: Operator, blocks: Sequence[Block], call_gap: bool = False) -> list[Output]:
        """Run blocks through an operator; a gap is a jump of the index, or with `call_gap` told beforehand."""
        outputs, expected = [], blocks[0].index if blocks else 0
        for block in blocks:
            if call_gap and block.index > expected:
                operator.gap(expected, block.index - expected)
            outputs.append(_kept(operator.update(block, self.inputs(block))))
            expected = block.stop
        return outputs

    def results(self, operator: Operator, outputs: Sequence[Output]) -> Arrays:
        """Everything that came out: values, frames handed on, snapshots, what was held back."""
        last = operator.finish()
        everything = [*outputs, *([] if last is None else [_kept(last)])]
        return {**_values(operator, everything), **_snapshots(operator)}

    def whole(self) -> Arrays:
        """What a fresh operator makes of the whole movie in blocks of 32."""
        operator = self.make()
        return self.results(operator, self.feed(operator, self.blocks()))


def input_untouched(subject: Subject) -> None:
    """An operator writes to no pixel it was given, not even behind the block's read-only view."""
    operator = subject.make()
    for block in subject.blocks((7, 32)):
        pixels = block.pixels.copy()
        operator.update(Block(block.index, block.times_ns, pixels), subject.inputs(block))
        _equal(pixels, block.pixels, f"pixels of the block at {block.index} were written to")


def read_is_pure(subject: Subject) -> None:
    """Reading changes nothing: the same twice, the same state after, and what was read is the reader's own."""
    read, unread = subject.make(), subject.make()
    for block in subject.blocks((7, 32)):
        before = _copied(read.state())
        first = _snapshots(read)
        for array in read.read().values():
            if array.flags.writeable and array.ndim:
                array[...] = 0
        _same(_snapshots(read), first, "reading twice differs")
        _same(_copied(read.state()), before, "reading changed the state")
        read.update(block, subject.inputs(block))
        unread.update(block, subject.inputs(block))
    _same(_snapshots(read), _snapshots(unread), "having been read changed what came later")


def state_is_a_copy(subject: Subject) -> None:
    """A state is flat and plain, and shares no memory with the operator that gave or took it."""
    operator, taker = subject.make(), subject.make()
    for block in subject.blocks((19,), stop=60):
        operator.update(block, subject.inputs(block))
    state = check_state(operator.state(), operator.kind)
    before = _copied(state)
    taker.restore(state)
    for value in state.values():
        if isinstance(value, np.ndarray):
            value[...] = np.ones((), value.dtype)
    _same(_copied(operator.state()), before, "changing the state it gave changed the operator")
    _same(_copied(taker.state()), before, "changing the state it took changed the operator")


def resume_equals_unbroken(subject: Subject) -> None:
    """An operator restored in the middle goes on to the same bits."""
    whole = subject.whole()
    for at in (1, 20, 32, 43, 50, 110, 140):
        first, second = subject.make(), subject.make()
        outputs = subject.feed(first, subject.blocks(stop=at))
        second.restore(_through_a_file(first.state()))
        outputs += subject.feed(second, subject.blocks(start=at))
        _same(subject.results(second, outputs), whole, f"resuming at frame {at} differs")


def cuts_change_nothing(subject: Subject) -> None:
    """However frames are cut into blocks, and however a gap is told, the results are the same bits."""
    whole = subject.whole()
    random = np.random.default_rng(5).integers(1, 40, 200).tolist()
    for name, sizes in {"1": [1], "2": [2], "odd": [5, 31, 2], "33": [33], "random": random}.items():
        for call_gap in (False, True):
            operator = subject.make()
            outputs = subject.feed(operator, subject.blocks(sizes), call_gap)
            told = "told" if call_gap else "seen"
            _same(subject.results(operator, outputs), whole, f"blocks of {name} with gaps {told} differ")


def parts_equal_whole(subject: Subject) -> None:
    """Parts computed apart and merged equal the whole; a gap between parts is a gap inside a run."""
    whole = _snapshots_of(subject, [0, FRAMES])
    for cuts in ([0, 75, FRAMES], [0, 1, 2, 40, FRAMES], [0, 32, 64, 96, FRAMES], [0, 41, 100, FRAMES]):
        _close(_snapshots_of(subject, cuts), whole, f"parts cut at {cuts[1:-1]} differ from the whole")


def empty_is_identity(subject: Subject) -> None:
    """Merging with an operator that has seen nothing changes no bit, on either side; the other stays as it was."""
    part = _part(subject, 3, 77)
    if not isinstance(part, Mergeable):
        return
    expected = _snapshots(part)
    left, right = _part(subject, 3, 3), _part(subject, 3, 77)
    before = _copied(part.state())
    left.merge(part)
    _same(_snapshots(left), expected, "an empty part before it changed the result")
    right.merge(_part(subject, 77, 77))
    _same(_snapshots(right), expected, "an empty part behind it changed the result")
    left.update(subject.blocks((32,), 77, 90)[0])
    _same(_copied(part.state()), before, "merging changed the part that was absorbed")


def merging_is_associative(subject: Subject) -> None:
    """(a + b) + c equals a + (b + c)."""
    a, b, c, d, e = (_part(subject, *cut) for cut in ((0, 37), (37, 80), (80, FRAMES), (0, 37), (37, 80)))
    if not isinstance(a, Mergeable):
        return
    f = _part(subject, 80, FRAMES)
    a.merge(b)
    a.merge(c)
    e.merge(f)
    d.merge(e)
    _close(_snapshots(a), _snapshots(d), "merging from the left and from the right differ")


def nothing_compiles_later(subject: Subject) -> None:
    """No kernel is compiled once frames flow."""
    try:
        from numba.core import event
    except ImportError:
        return
    operator = subject.make()
    with event.install_recorder("numba:compile") as recorder:
        outputs = subject.feed(operator, subject.blocks((1, 32, 5)))
        subject.results(operator, outputs)
        operator.restore(operator.state())
        if isinstance(operator, Mergeable):
            operator.merge(operator)
    names = {str(e.data.get("dispatcher")) for _, e in recorder.buffer}
    assert not names, f"{operator.kind}: compiled while frames flowed: {', '.join(sorted(names))}"


def what_is_given_is_declared(subject: Subject) -> None:
    """Every value, snapshot and frame handed out is in `gives` with its kind, and `out_spec` tells the truth."""
    operator = subject.make()
    declared = {g.name: g.kind for g in operator.gives}
    for block in subject.blocks((1, 32, 9)):
        output = operator.update(block, subject.inputs(block))
        for name, value in output.values.items():
            kind = "table" if isinstance(value, Table) else ("per_frame", "by_id")
            assert declared.get(name, "") in kind or name == "ids", f"{operator.kind}: value {name!r} is not declared"
            if not isinstance(value, Table) and name != "ids":
                assert len(value) == len(block), f"{operator.kind}: {name!r} has {len(value)} rows for {len(block)}"
        if output.block is not None:
            seen, spec = output.block.pixels, operator.out_spec
            assert "frames" in declared.values(), f"{operator.kind}: hands on frames it does not declare"
            found = (seen.shape[1:], seen.dtype.name)
            assert found == (spec.shape, spec.dtype), f"{operator.kind}: out_spec says {spec}, frames are {found}"
    snapshots = {name for name, kind in declared.items() if kind == "snapshot"}
    assert set(operator.read()) == snapshots, f"{operator.kind}: read gives {set(operator.read())}, not {snapshots}"
    try:
        operator.read(["no such snapshot"])
    except ConfigError:
        return
    assert not snapshots, f"{operator.kind}: a snapshot it does not give is not refused"


def values_stay(subject: Subject) -> None:
    """What was handed out is not written over by later updates."""
    operator = subject.make()
    kept = []
    for block in subject.blocks((3, 32)):
        output = operator.update(block, subject.inputs(block))
        arrays = [a for v in output.values.values() for a in (v.values() if isinstance(v, Table) else [v])]
        arrays += [output.block.pixels] if output.block is not None else []
        kept += [(a, np.array(a)) for a in arrays]
    for array, copy in kept:
        _equal(np.asarray(array), copy, "a later update wrote over values handed out before")


def devices_agree(subject: Subject) -> None:
    """Twins on other devices give the CPU's results."""
    operator = subject.make()
    for device in operator.devices:
        if device == operator.device:
            continue
        try:
            twin = type(operator)(operator.params, operator.spec, device)
        except ConfigError:
            continue  # not to be had on this machine
        outputs = subject.feed(twin, subject.blocks())
        _close(subject.results(twin, outputs), subject.whole(), f"{device} and {operator.device} differ")


LAWS: Mapping[str, Callable[[Subject], None]] = {
    law.__name__: law
    for law in (
        input_untouched,
        read_is_pure,
        state_is_a_copy,
        resume_equals_unbroken,
        cuts_change_nothing,
        parts_equal_whole,
        empty_is_identity,
        merging_is_associative,
        nothing_compiles_later,
        what_is_given_is_declared,
        values_stay,
        devices_agree,
    )
}


def check_laws(
    kind: str, spec: Spec, inputs: Callable[[Block], Values] = lambda block: NO_VALUES, **params: Any
) -> None:
    """Check all laws on one registered operator. Raises AssertionError that names the law and what differed."""
    for name, law in LAWS.items():
        try:
            law(Subject(lambda: create(kind, spec, **params), spec, inputs))
        except AssertionError as error:
            raise AssertionError(f"{kind} breaks {name}: {error}") from None


def _movie(spec: Spec) -> np.ndarray:
    """150 frames far from zero, where sums not taken about a pivot lose digits; extremes lie in every part."""
    rng = np.random.default_rng(11)
    dtype = np.dtype(spec.dtype)
    level = 100 if dtype.itemsize == 1 else 10_000
    movie = level + rng.normal(0, level / 100, (FRAMES, *spec.shape))
    movie[0] *= 1.5
    movie[[20, 60, 92, 135]] *= rng.uniform(0.2, 2, (4, *spec.shape))
    return movie.astype(dtype)


def _cut(movie: np.ndarray, sizes: Sequence[int], start: int, stop: int) -> Iterator[Block]:
    edges = [0, *(edge for gap in GAPS for edge in (gap.start, gap.stop)), FRAMES]
    n = 0
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        at, end = max(first, start), min(last, stop)
        while at < end:
            upto = min(at + sizes[n % len(sizes)], end)
            n += 1
            yield Block(at, np.arange(at, upto) * 1_000_000, movie[at:upto])
            at = upto


def _part(subject: Subject, start: int, stop: int) -> Any:
    operator = subject.make()
    subject.feed(operator, subject.blocks(start=start, stop=stop))
    return operator


def _snapshots_of(subject: Subject, cuts: Sequence[int]) -> Arrays:
    operator = _part(subject, cuts[0], cuts[1])
    if isinstance(operator, Mergeable):
        for start, stop in pairwise(cuts[1:]):
            operator.merge(_part(subject, start, stop))
        return _snapshots(operator)
    return {}


def _kept(output: Output) -> Output:
    """An output whose block will outlive the next update."""
    block = output.block
    kept = None if block is None else Block(block.index, block.times_ns.copy(), block.pixels.copy())
    return Output(output.index, {n: v if isinstance(v, Table) else np.array(v) for n, v in output.values.items()}, kept)


def _values(operator: Operator, outputs: Sequence[Output]) -> Arrays:
    found: Arrays = {}
    everyone = sorted({i for out in outputs for i in np.asarray(out.values.get("ids", ())).tolist()})
    for given in operator.gives:
        parts = [out.values[given.name] for out in outputs if given.name in out.values]
        if given.kind == "per_frame" and parts:
            found[given.name] = np.concatenate(parts)  # type: ignore[arg-type]
        elif given.kind == "by_id" and parts and given.name != "ids":
            found[given.name] = np.concatenate([_spread(out, given.name, everyone) for out in outputs])
        elif given.kind == "table" and parts:
            for column in parts[0]:
                found[f"{given.name}/{column}"] = np.concatenate([p[column] for p in parts])
    blocks = [out.block for out in outputs if out.block is not None]
    if blocks:
        found["frames handed on"] = np.concatenate([b.pixels for b in blocks])
        found["their index"] = np.concatenate([np.arange(b.index, b.stop) for b in blocks])
        found["their times"] = np.concatenate([b.times_ns for b in blocks])
    return found


def _spread(out: Output, name: str, everyone: Sequence[int]) -> np.ndarray:
    array, ids = np.asarray(out.values[name]), np.asarray(out.values["ids"]).tolist()
    wide = np.zeros((len(array), len(everyone), *array.shape[2:]), array.dtype)
    wide[:, [everyone.index(i) for i in ids]] = array
    return wide


def _snapshots(operator: Operator) -> Arrays:
    return {f"snapshot {name}": np.array(array) for name, array in operator.read().items()}


def _copied(state: Mapping[str, Any]) -> Arrays:
    return {name: np.array(value) for name, value in state.items()}


def _through_a_file(state: Mapping[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    np.savez(file, **{name: a for name, a in state.items() if isinstance(a, np.ndarray)})  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] if name in arrays.files else value for name, value in state.items()}


def _equal(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), (
        f"{what}: {found.shape} {found.dtype}, expected {expected.shape} {expected.dtype}"
    )
    if found.tobytes() != expected.tobytes():
        apart = np.nanmax(np.abs(found.astype(float) - expected.astype(float)), initial=0.0)
        raise AssertionError(f"{what}, by up to {apart:g}")


def _same(found: Arrays, expected: Arrays, what: str) -> None:
    assert found.keys() == expected.keys(), f"{what}: {sorted(found)} instead of {sorted(expected)}"
    for name in expected:
        _equal(found[name], expected[name], f"{what} in {name!r}")


def _close(found: Arrays, expected: Arrays, what: str) -> None:
    assert found.keys() == expected.keys(), f"{what}: {sorted(found)} instead of {sorted(expected)}"
    for name, array in expected.items():
        assert found[name].shape == array.shape, f"{what} in {name!r}: {found[name].shape}, expected {array.shape}"
        scale = np.nanmax(np.abs(array.astype(float)), initial=0.0)
        apart = np.nanmax(np.abs(found[name].astype(float) - array.astype(float)), initial=0.0)
        assert apart <= TOLERANCE * scale, f"{what} in {name!r}, by {apart / (scale or 1):.1e} of its scale"
        assert (np.isnan(found[name]) == np.isnan(array)).all(), f"{what} in {name!r}: NaN elsewhere"
