"""The laws, one function each, in the order they are checked; those of what was not seen are in `unseen_laws.py`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError, StateError
from ..core.freezable import Freezable
from ..core.operator import Mergeable, Operator, Output, SnapshotOperator
from ..core.state import check_state
from ..core.step_values import Gate
from .subject import (
    FRAMES,
    TOLERANCE,
    Arrays,
    Subject,
    copied,
    fed_part,
    flat,
    kernels,
    same,
    spoil,
    spoilt_movie,
    through_a_file,
)  # fmt: skip

LAWS: dict[str, Callable[[Subject], None]] = {}  # by name, in the order they are checked


def law(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Put a law into LAWS; what it raises names the operator and the law."""

    @wraps(check)
    def named(subject: Subject) -> None:
        try:
            check(subject)
        except (AssertionError, StateError) as error:
            raise AssertionError(f"{subject.make().kind} breaks {check.__name__}: {error}") from None

    LAWS[check.__name__] = named
    return named


@law
def input_untouched(subject: Subject) -> None:
    """An operator never writes to what it was given, not even behind the block's read-only view."""
    operator, given = subject.make(), []
    for block in subject.blocks((7, 32)):
        inputs, times, pixels = subject.inputs(block), block.times_ns.copy(), block.pixels.copy()
        mine = {**flat(Output(0, inputs)), "times": times, "pixels": pixels}
        given.append((mine, copied(mine)))
        operator.update(Block(block.index, times, pixels), inputs)
    subject.results(operator, [])
    for mine, copies in given:
        same(mine, copies, "what it was given was written to")


@law
def pixels_are_borrowed(subject: Subject) -> None:
    """An operator copies what it needs of its pixels beyond `update`: their memory is used again."""
    operator, outputs = subject.make(), []
    for block in subject.blocks((7, 32)):
        pixels = block.pixels.copy()
        arrays = flat(operator.update(Block(block.index, block.times_ns, pixels), subject.inputs(block)))
        outputs.append({name: np.array(a) if name.startswith("block's") else a for name, a in arrays.items()})
        spoil(pixels)
    same(subject.results(operator, outputs), subject.whole((7, 32)), "frames' memory used again changed the results")


@law
def read_is_pure(subject: Subject) -> None:
    """Reading changes nothing: the same twice, the same state after, and what was read is the reader's own."""
    read, unread = subject.make(), subject.make()
    found, expected, kept = [], [], []
    for block in subject.blocks((7, 32)):
        before, first = copied(read.state()), copied(read.read())
        kept.append((read.read(), first))
        for name, array in read.read().items():
            spoil(array)
            same(copied(read.read([name])), {name: first[name]}, "read by name, or after writing to it, differs")
        same(copied(read.read()), first, "reading twice differs")
        same(copied(read.state()), before, "reading changed the state")
        found += subject.feed(read, [block])
        expected += subject.feed(unread, [block])
    for handed, copies in kept:
        same(copied(handed), copies, "later updates wrote over what was read before")
    same(subject.results(read, found), subject.results(unread, expected), "having been read changed what came later")


@law
def state_is_a_copy(subject: Subject) -> None:
    """A state is flat and plain, replaces all that was there, and shares no memory with who gave or took it."""
    operator, taker = subject.make(), subject.make()
    subject.feed(operator, subject.blocks((19,), stop=60))
    subject.feed(taker, subject.blocks((19,), start=90, stop=140))
    state = check_state(operator.state(), operator.kind)
    kept, before = operator.state(), copied(state)
    taker.restore(state)
    same(copied(taker.state()), before, "an operator that had seen other frames is not what it was restored to")
    for value in state.values():
        spoil(value)
    same(copied(operator.state()), before, "changing the state it gave changed the operator")
    same(copied(taker.state()), before, "changing the state it took changed the operator")
    subject.feed(operator, subject.blocks((19,), start=60))
    same(copied(kept), before, "later updates wrote over the state given before")


@law
def resume_equals_unbroken(subject: Subject) -> None:
    """An operator restored before, in the middle of or after the frames goes on to the same bits."""
    whole, first, outputs, before = subject.whole(), subject.make(), list[Arrays](), 0
    for at in (0, 1, 20, 32, 43, 50, 110, 140, FRAMES):
        outputs += subject.feed(first, subject.blocks(start=before, stop=at))
        second, before = subject.make(), at
        second.restore(through_a_file(first.state()))
        later = subject.feed(second, subject.blocks(start=at))
        same(subject.results(second, [*outputs, *later]), whole, f"resuming at frame {at} differs")


@law
def cuts_change_nothing(subject: Subject) -> None:
    """However frames are cut into blocks, and however a gap is told, the results are the same bits."""
    random = np.random.default_rng(5).integers(1, 40, 200).tolist()
    cuts = {"1": [1], "2": [2], "odd": [5, 31, 2], "33": [33], "random": random}
    for start in (0, 13):
        whole = subject.whole(start=start)
        for n, (name, sizes) in enumerate(cuts.items()):
            told = (n + start) % 2 == 1  # each cut both ways, in one of the two starts
            what = f"from frame {start} on, blocks of {name} with gaps {'told' if told else 'seen'} differ"
            same(subject.whole(sizes, start, told), whole, what)


@law
def parts_equal_whole(subject: Subject) -> None:
    """Parts computed apart and merged equal the whole, also where frames follow; parts absorbed stay as they were."""
    if not merges(subject.make()):
        return
    expected = copied(fed_part(subject, 0, FRAMES).read())
    for cuts in ((0, 75), (0, 1, 2, 40), (0, 32, 64, 96), (0, 41, 100)):
        for edges in ((*cuts, FRAMES), cuts):
            first, *rest = [fed_part(subject, *edge) for edge in pairwise(edges)]
            before = [copied(part.state()) for part in rest]
            for part in rest:
                first.merge(part)
            subject.feed(first, subject.blocks(start=edges[-1]))
            same(copied(first.read()), expected, f"parts cut at {edges[1:]} differ from the whole", TOLERANCE)
            for part, state in zip(rest, before, strict=True):
                same(copied(part.state()), state, "merging changed the part that was absorbed")


@law
def empty_is_identity(subject: Subject) -> None:
    """Merging with an operator that has seen nothing changes no bit, on either side, now or later."""
    if not merges(subject.make()):
        return
    for stop, empty_first in ((77, True), (77, False), (FRAMES, True), (FRAMES, False)):
        part, empty = fed_part(subject, 3, 77), fed_part(subject, 3, 3)
        first, second = (empty, part) if empty_first else (part, empty)
        before = copied(second.state())
        first.merge(second)
        subject.feed(first, subject.blocks(start=77, stop=stop))
        expected = copied(fed_part(subject, 3, stop).read())
        same(copied(first.read()), expected, f"an empty part {'before' if empty_first else 'behind'} it counts")
        same(copied(second.state()), before, "merging changed the part that was absorbed")


@law
def merging_is_associative(subject: Subject) -> None:
    """(a + b) + c equals a + (b + c)."""
    if not merges(subject.make()):
        return
    (a, b, c), (d, e, f) = ([fed_part(subject, *cut) for cut in ((0, 37), (37, 80), (80, FRAMES))] for _ in range(2))
    a.merge(b)
    a.merge(c)
    e.merge(f)
    d.merge(e)
    same(copied(a.read()), copied(d.read()), "merging from the left and from the right differ", TOLERANCE)


@law
def frozen_takes_any_part(subject: Subject) -> None:
    """What has learned and is frozen takes frames of any index, in whatever blocks, gaps told or not, to the bit; no id
    is new."""
    operator = subject.make()
    if not isinstance(operator, Freezable):
        return
    subject.feed(operator, subject.blocks())
    learned, found = operator.state(), []
    for sizes, gaps_told in (((32,), False), ((1, 7, 30), True)):
        part = subject.make()
        assert isinstance(part, Freezable)
        part.restore(learned)
        try:
            part.freeze()
        except ConfigError:  # the movie taught it too little
            return
        outputs = subject.feed(part, subject.blocks(sizes, stop=32))
        part.begin_part()
        outputs += subject.feed(part, subject.blocks(sizes, start=32), gaps_told)
        ids = {tuple(arrays["ids"].tolist()) for arrays in outputs if "ids" in arrays}
        assert len(ids) < 2, f"frozen, it gives values of other ids as frames go by: {sorted(ids)}"
        found.append(subject.results(part, outputs))
    same(found[1], found[0], "frozen, blocks of other sizes differ")


@law
def warmed_up_a_part_is_the_serial_run(subject: Subject) -> None:
    """What learns nothing gives of a part, once it has seen the frames that warm it up, what the serial run gives, to
    the bit; behind the last part it stands where that does."""
    serial, part, first = subject.make(), subject.make(), 96
    if not isinstance(serial, Freezable) or not isinstance(part, Freezable) or part.learns:
        return
    subject.feed(part, subject.blocks())
    part.freeze()
    subject.feed(part, subject.blocks(start=max(0, first - part.warm_up_frames), stop=first))
    part.begin_part()
    subject.feed(serial, subject.blocks(stop=first))
    expected, found = ([*subject.feed(one, subject.blocks(start=first))] for one in (serial, part))
    before = subject.make()
    assert isinstance(before, Freezable)
    before.absorb(part)
    same(subject.results(before, found), subject.results(serial, expected), "warmed up, a part differs")


@law
def nothing_compiles_later(subject: Subject) -> None:
    """No kernel is compiled, nor loaded from numba's cache, once frames flow, whatever they show."""
    for kernel in kernels(subject.make()):
        kernel._reset_overloads()  # what an earlier operator compiled would hide what this one compiles late
    operator, other, third = (fed_part(subject, 0, 0) for _ in range(3))
    built = compiled(operator)
    subject.results(operator, subject.feed(operator, subject.blocks((1, 32, 5)), call_gap=True))
    other.restore(operator.state())
    if isinstance(operator, Mergeable) and operator.merges:
        operator.merge(other)
    spoilt = replace(subject, movie=spoilt_movie(subject.spec))
    with suppress(FrameError):
        spoilt.results(third, spoilt.feed(third, spoilt.blocks((1, 32, 5))))
    now = compiled(operator)
    assert now <= built, f"compiled while frames flowed: {', '.join(sorted(now - built))}"


def merges(operator: Operator) -> bool:
    """Whether parts of an operator, with its parameters, can be put together."""
    return isinstance(operator, Mergeable) and operator.merges


def compiled(operator: Operator) -> set[str]:
    return {f"{k.py_func.__qualname__}{signature}" for k in kernels(operator) for signature in k.signatures}


@law
def what_is_given_is_declared(subject: Subject) -> None:
    """Every value, snapshot and frame handed out passes the chain's gate: name, kind, shape, type as in `gives`."""
    operator, hands_on = subject.make(), False
    gate = Gate("step", operator)
    frames = any(g.kind == "frames" for g in operator.gives)
    for block in subject.blocks((1, 32, 9)):
        output = operator.update(block, subject.inputs(block))
        _pass(gate.values, output, block)
        hands_on = hands_on or output.held or output.block is not None
    assert hands_on == frames, (
        f"frames are {'' if frames else 'not '}declared, but {'' if hands_on else 'not '}handed on"
    )
    if (last := operator.finish()) is not None:
        _pass(gate.values, last, None)
    _pass(gate.snapshots, operator.read())
    snapshots = {g.name: len(g.dims) for g in operator.gives if g.kind == "snapshot"}
    found = {name: np.ndim(array) for name, array in operator.read().items()}
    assert found == snapshots, f"read gives these snapshots with so many axes: {found}, declared are {snapshots}"
    with suppress(ConfigError):
        operator.read(["no such snapshot"])
        assert not snapshots, "a snapshot it does not give is not refused"


@law
def readers_run_elsewhere(subject: Subject) -> None:
    """What `reader` returns reads the snapshots as of its call, on another thread while frames go on."""
    operator, unread = subject.make(), subject.make()
    if isinstance(operator, SnapshotOperator):
        return  # the chain gives it the snapshots that it reads
    found, expected, pending = [], [], []
    with ThreadPoolExecutor(1) as elsewhere:
        for block in subject.blocks((7, 32)):
            now = copied(operator.read())
            pending.append((elsewhere.submit(operator.reader()), now))
            found += subject.feed(operator, [block])
            expected += subject.feed(unread, [block])
    for reading, now in pending:
        same(copied(reading.result()), now, "read on another thread while frames went on, snapshots differ")
    same(subject.results(operator, found), subject.results(unread, expected), "reading elsewhere changed the results")


@law
def values_stay(subject: Subject) -> None:
    """What was handed out is not written over by later updates."""
    operator, kept = subject.make(), []
    for block in subject.blocks((3, 32)):
        arrays = flat(operator.update(block, subject.inputs(block)))
        kept.append((arrays, copied(arrays)))
    for arrays, copies in kept:
        same(copied(arrays), copies, "a later update wrote over what was handed out before")


@law
def devices_agree(subject: Subject) -> None:
    """Twins on other devices give the CPU's results."""
    operator = subject.make()
    for device in set(operator.devices) - {operator.device}:
        try:
            twin = type(operator)(operator.params, operator.spec, device)
        except ConfigError:
            continue  # not to be had on this machine
        found = subject.results(twin, subject.feed(twin, subject.blocks()))
        same(found, subject.whole(), f"{device} and {operator.device} differ", operator.twin_tolerance)


def _pass(check: Callable[..., Any], *args: Any) -> None:
    try:
        check(*args)
    except FrameError as error:
        raise AssertionError(f"what it gives is not what it declares: {error}") from None
