"""Kernels of one kind of operator are compiled in parts, by processes that do so at the same time."""

import pytest

from streamfluo import Spec, create
from streamfluo.core.registry import find_operator, operators
from streamfluo.engine.compiling import Job, Told, _Tasks
from streamfluo.engine.loading import built_params
from streamfluo.testing.laws import compiled
from streamfluo.testing.subject import kernels

IN_PARTS = [kind for kind, operator in operators().items() if operator.compiles]
SPEC = Spec((13, 17), "uint16", interval_s=0.02)


@pytest.mark.parametrize("kind", IN_PARTS)
def test_what_a_kind_compiles_in_parts_leaves_nothing_to_compile(kind):
    built = create(kind, SPEC)
    for kernel in kernels(built):
        kernel._reset_overloads()
    operator = find_operator(kind)
    for compile_part in operator.compiles:
        compile_part(built_params(operator, {}, SPEC), SPEC)
    in_parts = compiled(built)
    assert len(in_parts) > 1
    create(kind, SPEC)
    assert compiled(built) == in_parts


def test_a_kind_is_built_when_all_its_parts_are_and_what_takes_longest_comes_first():
    tasks = _Tasks([Job("moments", SPEC, {}), Job("spots", SPEC, {}), Job("spots", SPEC, {"crop_px": 7})])
    begun = [tasks.next() for _ in range(4)]
    assert [(task.kind, task.part) for task in begun[:3]] == [("spots", 0), ("spots", 1), ("moments", -1)]
    assert begun[3] is None  # the operators themselves, once both parts are there
    assert not tasks.hear(Told("spots", "built"))
    assert tasks.next() is None
    assert tasks.hear(Told("moments", "built"))
    assert not tasks.hear(Told("spots", "built"))
    rest = tasks.next()
    assert (rest.kind, rest.part, len(rest.jobs)) == ("spots", -1, 2)
    assert tasks.unbuilt == {"spots"}
    assert tasks.hear(Told("spots", "built"))
    assert not tasks.unbuilt
    assert not tasks.waiting


def test_a_kind_of_which_a_part_was_killed_is_not_built():
    tasks = _Tasks([Job("spots", SPEC, {})])
    assert [tasks.next().part, tasks.next().part, tasks.next()] == [0, 1, None]
    assert tasks.hear(Told("spots", "stopped", "its process was ended"))
    assert not tasks.hear(Told("spots", "built"))
    assert tasks.unbuilt == {"spots"}
