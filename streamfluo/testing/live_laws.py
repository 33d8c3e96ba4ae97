"""Laws of live parameters: changed between two frames, an operator goes on as if it had been built so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..core.errors import ConfigError
from ..core.params import build_params
from .laws import compiled, law, merges
from .subject import FRAMES, TOLERANCE, Arrays, Subject, copied, fed_part, kernels, same, through_a_file

AT = (20, 43, 75)  # within a cell of the grid, in a gap, later


def live_ones(subject: Subject) -> dict[str, Any]:
    """Return the live parameters that this operator takes, each with another value."""
    operator, found = subject.make(), {}
    for name, value in operator.live.items():
        params = changed(operator, {name: value})
        assert params != operator.params, f"{name}: the value in `live` is the one that it has already"
        own = operator.params
        try:
            operator.change(params)
        except ConfigError:  # as cropped frames have their size
            assert operator.params == own, f"{name} was refused, and yet changed"
        else:
            assert operator.params == params, f"{name}: `params` are not those that it goes on under"
            operator.change(own)
            found[name] = value
    return found


def changed(operator: Any, values: Mapping[str, Any]) -> Any:
    """Return an operator's parameters with others among them."""
    return build_params(type(operator.params), {**msgspec.structs.asdict(operator.params), **values}, operator.kind)


def changed_at(subject: Subject, params: Any, at: int, sizes: Sequence[int] = (32,)) -> Arrays:
    """What an operator gives whose parameters change before frame `at`."""
    operator = subject.make()
    outputs = subject.feed(operator, subject.blocks(sizes, stop=at))
    operator.change(params)
    return subject.results(operator, [*outputs, *subject.feed(operator, subject.blocks(sizes, start=at))])


@law
def a_change_begins_at_its_frame(subject: Subject) -> None:
    """Whatever blocks the frames before and after it come in, a change gives the same bits."""
    if values := live_ones(subject):
        params = changed(subject.make(), values)
        for at in AT:
            found, expected = changed_at(subject, params, at, (5, 31, 2)), changed_at(subject, params, at)
            same(found, expected, f"changed at frame {at}, other cuts give other results")


@law
def changed_is_as_built(subject: Subject) -> None:
    """After a change it goes on as one that was built so and given the state, from the first frame on as that one."""
    values = live_ones(subject)
    for name, value in values.items():
        params = changed(subject.make(), {name: value})
        built = _built(subject, params)
        whole = subject.results(built, subject.feed(built, subject.blocks()))
        same(changed_at(subject, params, 0), whole, f"{name} changed before the first frame differs")
    for at in AT if values else ():
        params, first = changed(subject.make(), values), subject.make()
        outputs, second = subject.feed(first, subject.blocks(stop=at)), _built(subject, params)
        first.read()
        second.restore(through_a_file(first.state()))
        first.change(params)
        same(copied(first.read()), copied(second.read()), f"read after a change at frame {at} it differs")
        found = subject.results(second, [*outputs, *subject.feed(second, subject.blocks(start=at))])
        same(found, changed_at(subject, params, at), f"built anew at frame {at} with its state it differs")


@law
def changed_back_is_unchanged(subject: Subject) -> None:
    """A change taken back before a frame comes changes no bit, nor what was to be read as of before it."""
    if not (values := live_ones(subject)):
        return
    operator, outputs = subject.make(), list[Arrays]()
    own, params = operator.params, changed(operator, values)
    for start, stop in ((0, 50), (50, FRAMES)):
        before, expected, read = copied(operator.state()), copied(operator.read()), operator.reader()
        operator.prepare(params)
        operator.change(params)
        same(copied(read()), expected, "what was to be read as of before a change differs")
        same(copied(operator.state()), before, "a change changed the state")
        operator.change(own)
        outputs += subject.feed(operator, subject.blocks(start=start, stop=stop))
    same(subject.results(operator, outputs), subject.whole(), "changed and changed back it differs")


@law
def parts_merge_across_a_change(subject: Subject) -> None:
    """A part, and one that follows under changed parameters, equal one operator that changed between them."""
    values = live_ones(subject)
    if not values or not merges(subject.make()):
        return
    for at in (40, 96):
        first, params = fed_part(subject, 0, at), changed(subject.make(), values)
        second = _built(subject, params)
        subject.feed(second, subject.blocks(start=at))
        first.change(params)
        first.merge(second)
        expected = {name: a for name, a in changed_at(subject, params, at).items() if name.startswith("snapshot ")}
        found = {f"snapshot {name}": array for name, array in copied(first.read()).items()}
        same(found, expected, f"parts before and behind a change at frame {at} differ from the whole", TOLERANCE)


@law
def changes_compile_nothing(subject: Subject) -> None:
    """No change compiles a kernel, nor do the frames behind it."""
    if values := live_ones(subject):
        for kernel in kernels(subject.make()):
            kernel._reset_overloads()  # what an earlier change compiled would hide what this one compiles
        operator = fed_part(subject, 0, 40)
        before = compiled(operator)
        operator.change(changed(operator, values))
        subject.feed(operator, subject.blocks(start=40))
        now = compiled(operator)
        assert now <= before, f"compiled while frames flowed: {', '.join(sorted(now - before))}"


def _built(subject: Subject, params: Any) -> Any:
    """An operator of the subject's that was built with these parameters."""
    like = subject.make()
    return type(like)(params, like.spec, like.device)
