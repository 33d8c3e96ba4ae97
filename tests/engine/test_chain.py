"""The chain: blocks run through a tree of steps, and values travel between them for the same frames."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import BINNED, DOUBLE, INVERSE, LATE, LEVEL, SQUARED, a, block, chain, means, run, toys  # noqa: F401

from streamfluo import ConfigError, Output, Spec, StateError

# The tree


def test_outputs_come_in_the_order_of_the_steps():
    got = chain(LEVEL, DOUBLE).push(block(0, 4))
    assert [step for step, _ in got] == ["level", "double"]
    assert all(out.index == 0 for _, out in got)


def test_a_branch_from_the_source_sees_the_raw_frames():
    c = chain(INVERSE, a("level", id="'a'"), a("level", id="'b'", after="'source'"), a("level", id="'c'", after="'a'"))
    got = run(c, [(0, 10)])
    assert np.allclose(got["b"]["level"], means(0, 10))
    assert np.allclose(got["a"]["level"], 1000 - means(0, 10))
    assert np.array_equal(got["c"]["level"], got["a"]["level"])


def test_a_step_is_built_for_what_the_step_before_hands_on():
    c = chain("kind = 'bin'\nparams = { bin_px = 2, bin_frames = 4 }", INVERSE, LEVEL)
    assert c.step("inverse").operator.spec == Spec((2, 2), "float32", interval_s=0.4)
    assert c.step("level").operator.spec.dtype == "int16"


def test_a_real_operator_refused_by_its_spec_is_named_with_its_place():
    with pytest.raises(ConfigError, match=r"run\.toml: step 'bin': bin: bin_px = 9 is larger than the frame \(4, 4\)"):
        chain("kind = 'bin'\nparams = { bin_px = 9 }")


def test_an_empty_chain_takes_blocks_and_gives_nothing():
    assert chain().push(block(0, 4)) == []
    assert chain().finish() == []


# Values between steps


def test_a_need_is_met_by_the_nearest_step_above_that_gives_it():
    c = chain(a("level", id="'a'"), a("level", id="'b'", params="{ factor = 10 }"), DOUBLE)
    assert np.allclose(run(c, [(0, 5)])["double"]["twice"], means(0, 5) * 20)


@pytest.mark.parametrize("named", ["a.level", "a"])
def test_inputs_name_another_giver(named):
    c = chain(
        a("level", id="'a'"),
        a("level", id="'b'", params="{ factor = 10 }"),
        a("double", id="'double'", inputs=f"{{ level = '{named}' }}"),
    )
    assert np.allclose(run(c, [(0, 5)])["double"]["twice"], means(0, 5) * 2)


def test_values_travel_across_branches_on_the_same_frames():
    c = chain(LEVEL, a("double", after="'source'", id="'d'"))
    assert np.allclose(run(c, [(0, 5), (5, 37)])["d"]["twice"], means(0, 37) * 2)


REFUSED = [
    ([DOUBLE], "run.toml: step 'double': nothing above gives 'level'"),
    ([a("level", id="'leveled'"), a("double", inputs="{ level = 'levelled.level' }")], "did you mean 'leveled.level'?"),
    ([LEVEL, a("double", inputs="{ level = 'level.sum' }")], "step 'toy-double': nothing above gives 'level.sum'"),
    ([LEVEL, a("double", inputs="{ levl = 'level' }")], "step 'toy-double': no input 'levl'; did you mean 'level'?"),
    ([a("level", inputs="{ x = 'y' }")], "step 'toy-level': no input 'x'; it takes none"),
    ([LEVEL, BINNED, DOUBLE], "step 'double': 'level' of step 'level' belongs to other frames: a step in between"),
    ([LEVEL, LATE, DOUBLE], "step 'double': 'level' of step 'level' belongs to other frames: a step in between"),
    ([a("spot")], "run.toml: step 'toy-spot': no operator 'toy-spot'; "),
    ([a("level", params="{ facto = 2 }")], "step 'toy-level': no parameter 'facto'; did you mean 'factor'?"),
    ([a("level", device="'gpu'")], "step 'toy-level': toy-level: no device 'gpu'; it runs on cpu"),
    ([LEVEL, a("squared", inputs="{ sum = 'level.level' }")], "nothing above gives 'level.level'"),
]


@pytest.mark.parametrize(("tables", "message"), REFUSED)
def test_a_chain_that_does_not_fit_together_is_refused(tables, message):
    with pytest.raises(ConfigError) as caught:
        chain(*tables)
    assert message in str(caught.value)


def test_behind_a_bin_in_time_values_of_the_binned_frames_are_fine():
    c = chain(BINNED, LEVEL, DOUBLE)
    assert np.allclose(run(c, [(0, 7), (7, 20)])["double"]["twice"], means(0, 20).reshape(-1, 2).mean(1) * 2)


# Held-back blocks, snapshots


def test_what_was_held_back_flows_through_the_steps_behind_at_the_end():
    c = chain(LATE, LEVEL, DOUBLE)
    got = run(c, [(0, 5), (5, 9), (9, 10)])
    assert np.allclose(got["level"]["level"], means(0, 10))
    assert np.allclose(got["double"]["twice"], means(0, 10) * 2)


def test_behind_a_step_that_holds_frames_back_values_still_belong_to_the_same_frames():
    got = run(chain(LATE, LEVEL, DOUBLE), [(0, 5), (5, 10), (10, 15)])
    assert np.allclose(got["double"]["twice"], means(0, 15) * 2)


def test_a_step_that_holds_frames_back_without_saying_so_is_muted(monkeypatch):
    c = chain(LATE)
    monkeypatch.setattr(c.step("late").operator, "frame_axis", "same")
    c.push(block(0, 8))
    assert "must declare frame_axis = 'own'" in c.step("late").muted


def test_a_step_whose_values_of_a_frame_change_their_number_is_muted(monkeypatch):
    """They could not be joined when the session is written."""
    c = chain(LEVEL)
    c.push(block(0, 8))
    monkeypatch.setattr(
        c.step("level").operator, "update", lambda b, _: Output(b.index, {"level": np.ones((len(b), 3))})
    )
    assert c.push(block(8, 16)) == []
    assert "value 'level' must be an array (t), found one of shape (8, 3)" in c.step("level").muted


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "seen as a jump"])
def test_a_gap_behind_held_back_frames_comes_after_them(announced):
    c = chain(LATE, LEVEL)
    outputs = c.push(block(0, 8))
    if announced:
        c.gap(8, 2)
    outputs += c.push(block(10, 20)) + c.finish()
    levels = np.concatenate([out.values["level"] for step, out in outputs if step == "level"])
    assert np.allclose(levels, np.r_[means(0, 8), means(10, 20)])
    assert c.step("level").operator.gaps == [(8, 2)]


def test_nothing_pushed_ends_with_nothing():
    assert chain(LATE, LEVEL).finish() == []


def test_a_snapshot_step_reads_what_other_steps_read():
    c = chain(LEVEL, SQUARED)
    c.push(block(0, 9))
    assert np.isclose(c.read("squared")["squared"], means(0, 9).sum() ** 2)
    assert list(c.read("level", ["sum"])) == ["sum"]
    assert list(c.read("level", [])) == []


def test_reading_what_is_not_there_names_the_nearest():
    c = chain(LEVEL)
    with pytest.raises(ConfigError, match="no step 'levl'; did you mean 'level'"):
        c.read("levl")
    with pytest.raises(ConfigError, match="no snapshot 'summ'; did you mean 'sum'"):
        c.read("level", ["summ"])


# State, and cuts


def test_resumed_from_its_state_a_chain_goes_on_as_if_unbroken():
    tables = (LEVEL, "kind = 'moments'\nafter = 'source'", BINNED)
    whole, first, second = chain(*tables), chain(*tables), chain(*tables)
    whole.push(block(0, 50)), whole.push(block(50, 99))
    first.push(block(0, 50))
    second.restore(first.state())
    second.push(block(50, 99))
    for step in ("level", "moments"):
        for name, array in whole.read(step).items():
            assert np.array_equal(second.read(step)[name], array), (step, name)


BAD_STATES = [
    {},
    {"level": {}},
    {"level": {"kind": "bin", "version": 1}},
    {"level": {"kind": "toy-level", "version": 9}},
]


@pytest.mark.parametrize("state", BAD_STATES)
def test_the_state_of_another_step_is_refused(state):
    with pytest.raises(StateError, match=r"step 'level': expected the state of \('toy-level', 1\), found"):
        chain(LEVEL).restore(state)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 99), max_size=6), hole=st.sampled_from([0, 1, 3, 40]))
def test_cuts_of_the_stream_never_change_a_result(cuts, hole):
    edges = sorted({0, *cuts, 40, 40 + hole, 100})
    pieces = [(a, b) for a, b in pairwise(edges) if not 40 <= a < 40 + hole]
    tables = (BINNED, LEVEL, DOUBLE, "kind = 'moments'\nafter = 'source'")
    one, other = chain(*tables), chain(*tables)
    whole, cut = run(one, [(0, 40), (40 + hole, 100)]), run(other, pieces)
    for step, named in whole.items():
        for name, array in named.items():
            assert np.array_equal(cut[step][name], array), (step, name)
    for step in ("moments", "level"):
        for name, array in one.read(step).items():
            assert np.array_equal(other.read(step)[name], array), (step, name)


@pytest.mark.parametrize("name", ["weights", "mask"])
def test_a_file_is_loaded_and_stated_under_a_parameters_former_name_too(tmp_path, name):
    path = tmp_path / "w.npy"
    np.save(path, [1.0, 2.0])
    built = chain(a("filed", params=f"{{ {name} = '{path}' }}"))
    assert built.step("toy-filed").operator.params.weights.tolist() == [1, 2]
    assert built.facts()["toy-filed"]["params"] == {"weights": str(path)}
