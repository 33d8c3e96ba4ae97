"""Kernels of one kind of operator are compiled in parts, by processes that do so at the same time."""

import multiprocessing
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import streamfluo.core.later
from streamfluo import Block, Spec, create
from streamfluo.core.errors import ConfigError, StreamfluoError
from streamfluo.core.later import later, putting_off
from streamfluo.core.registry import find_operator, operators
from streamfluo.engine.compile_tasks import Job, Tasks, Told
from streamfluo.engine.compiling import Compiling
from streamfluo.engine.loading import built_params
from streamfluo.testing.laws import compiled
from streamfluo.testing.subject import kernels

IN_PARTS = [kind for kind, operator in operators().items() if operator.compiles or operator.compiles_later]
LATER = {"extract": {"init_frames": 40}, "count": {"update_every": 40}, "motion": {"init_frames": 40}}
SPEC = Spec((13, 17), "uint16", interval_s=0.02)


def without_kernels(kind):
    built = create(kind, SPEC)
    for kernel in kernels(built):
        kernel._reset_overloads()
    return built


@pytest.mark.parametrize(("kind", "params"), [*((kind, {}) for kind in IN_PARTS), ("spots", {"detect": "mean"})])
def test_what_a_kind_compiles_in_parts_leaves_nothing_to_compile(kind, params):
    built, operator = without_kernels(kind), find_operator(kind)
    for compile_part in (*operator.compiles, *operator.compiles_later):
        compile_part(built_params(operator, params, SPEC), SPEC)
    in_parts = compiled(built)
    assert len(in_parts) > 1
    create(kind, SPEC, **params)
    assert compiled(built) == in_parts


def test_each_operator_that_compiles_later_is_tried_here():
    assert {kind for kind, operator in operators().items() if operator.compiles_later} == set(LATER)


def fed(operator, frames):
    """What it gives of movies of noise, and of traces of noise where it counts."""
    movie = np.random.default_rng(7).poisson(50, (frames, *SPEC.shape)).astype(np.uint16)
    photons = np.random.default_rng(8).normal(100, 10, (frames, 3))
    block = Block(0, np.arange(frames) * 20_000_000, movie)
    given = operator.update(block, {"photons": photons} if operator.kind == "count" else {})
    return {**given.values, **operator.read()}


@pytest.mark.parametrize(("kind", "params"), LATER.items())
def test_first_frames_need_nothing_of_what_is_compiled_later(kind, params):
    without_kernels(kind)
    with putting_off() as put_off:
        operator = create(kind, SPEC, **params)
    at_once = compiled(operator)
    fed(operator, 30)
    operator.doubt()
    operator.state()
    assert compiled(operator) == at_once
    put_off.work[0].wait()
    assert len(compiled(operator)) > len(at_once)


@contextmanager
def half_a_second_later():
    time.sleep(0.5)
    yield


@pytest.mark.parametrize(("kind", "params"), LATER.items())
def test_frames_that_come_before_the_kernels_give_the_same_bits(kind, params):
    at_once = create(kind, SPEC, **params)
    with putting_off(half_a_second_later) as put_off:
        beside = create(kind, SPEC, **params)
    put_off.start()
    found, expected = fed(beside, 150), fed(at_once, 150)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value), err_msg=name)


def test_what_was_put_off_raises_where_it_is_needed():
    def fails():
        raise ConfigError("no such kernel")

    with putting_off() as put_off:
        work = later(fails)
    put_off.start()
    for _ in range(2):
        with pytest.raises(ConfigError, match="no such kernel"):
            work.wait()


def test_what_was_put_off_is_not_done_once_the_program_ends(monkeypatch):
    monkeypatch.setattr(streamfluo.core.later, "_ended", threading.Event())
    with putting_off():
        work = later(list)
    streamfluo.core.later.end()
    with pytest.raises(StreamfluoError, match="the program ends before its kernels are compiled"):
        work.wait()


def begun(tasks, count):
    return [tasks.next() for _ in range(count)]


def test_a_kind_is_built_when_all_its_parts_are_and_what_takes_longest_comes_first():
    tasks = Tasks([Job("moments", SPEC, {}), Job("spots", SPEC, {}), Job("spots", SPEC, {"crop_px": 7})])
    *parts, moments, none = begun(tasks, 5)
    assert [(task.kind, task.part) for task in parts] == [("spots", 0), ("spots", 1), ("spots", 2)]
    assert (moments.kind, moments.part) == ("moments", -1)
    assert none is None  # the operators themselves, once all parts are there
    assert not any(tasks.hear(task, Told("spots", "built")) for task in parts[:2])
    assert tasks.next() is None
    assert tasks.hear(moments, Told("moments", "built"))
    assert not tasks.hear(parts[2], Told("spots", "built"))
    rest = tasks.next()
    assert (rest.kind, rest.part, len(rest.jobs)) == ("spots", -1, 2)
    assert tasks.unbuilt == {"spots"}
    assert tasks.hear(rest, Told("spots", "built"))
    assert not tasks.unbuilt
    assert not tasks.waiting


def test_a_kind_of_which_a_part_was_killed_is_not_built():
    tasks = Tasks([Job("spots", SPEC, {})])
    *parts, none = begun(tasks, 4)
    assert ([task.part for task in parts], none) == ([0, 1, 2], None)
    assert tasks.hear(parts[0], Told("spots", "stopped", "its process was ended"))
    assert not any(tasks.hear(task, Told("spots", "built")) for task in parts[1:])
    assert tasks.unbuilt == {"spots"}


def test_what_the_first_frame_waits_for_comes_first():
    tasks = Tasks([Job("extract", SPEC, {}), Job("count", SPEC, {}), Job("moments", SPEC, {})])
    order = begun(tasks, 7)
    assert [(task.kind, task.later) for task in order] == [
        ("moments", False), ("count", False), *[("extract", True)] * 3, *[("count", True)] * 2,
    ]  # fmt: skip
    assert tasks.at_once == 2
    for task in order[:2]:
        tasks.hear(task, Told(task.kind, "built"))
    assert not tasks.at_once
    assert tasks.unbuilt == {"extract", "count"}


def test_the_first_frame_does_not_wait_for_what_is_compiled_later():
    compiling = Compiling([Job("moments", SPEC, {}), Job("extract", SPEC, {})])
    compiling.wait_for_first_frame()
    compiling.give_up()
    with pytest.raises(StreamfluoError, match="program ends"):
        compiling.wait()


def test_one_that_is_given_up_ends_its_processes():
    compiling = Compiling([Job("extract", SPEC, {})], watch=endless)
    compiling.give_up()
    assert compiling.over
    assert not multiprocessing.active_children()


@contextmanager
def endless(tell):
    time.sleep(600)
    yield
