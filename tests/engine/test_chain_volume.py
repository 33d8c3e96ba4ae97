"""Steps that wait for all planes: a shift that is one for a volume, pooled from all of its slices."""

from dataclasses import replace

import numpy as np
import pytest
from test_chain_planes import FRAMES, NAMES, SPEC, block, chain, movies, run

from streamfluo import ConfigError
from streamfluo.engine.silent_planes import SILENT_FRAMES
from streamfluo.motion.volume_shift import VolumeShift

__all__ = ["movies"]

VOLUME = """
[[step]]
id = "slice"
kind = "motion"
params = { init_frames = 10, max_shift_px = 6 }
[[step]]
kind = "motion"
after = "source"
params = { mode = "apply", max_shift_px = 6 }
inputs = { shift_px = "*/slice.shift_px" }
[[step]]
kind = "moments"
"""


def pooled(found):
    """The volume's shift from what each slice measured."""
    measured = np.stack([found[f"{name}/slice"]["shift_px"] for name in NAMES])
    measured[~np.stack([found[f"{name}/slice"]["valid"] for name in NAMES])] = np.nan
    return VolumeShift().pool(measured)


def same(found, expected, start=0):
    for step, values in found.items():
        for key, array in values.items():
            np.testing.assert_array_equal(array, expected[step][key][start:], err_msg=f"{step} {key}")


@pytest.mark.parametrize("cut", [1, pytest.param(7, marks=pytest.mark.slow), 32])
def test_every_plane_is_corrected_by_the_shift_pooled_from_all(movies, cut):
    built = chain(VOLUME)
    assert built.follows == {}
    assert [s.id for s in built.steps if s.late] == [f"{n}/{k}" for k in ("motion", "moments") for n in NAMES]
    found = run(built, movies, cut=cut)
    assert built.settled
    for name in NAMES:
        np.testing.assert_array_equal(found[f"{name}/motion"]["shift_px"], pooled(found))
        assert found[f"{name}/motion"]["valid"].all()
    same(found, run(chain(VOLUME), movies, cut=4))


def test_a_frame_waits_until_the_last_plane_has_come_to_it(movies):
    built = chain(VOLUME)
    for name in NAMES[:3]:
        found = built.run(block(movies, name, 0, 8))
        assert [r.step for r in found] == [f"{name}/slice"]
    assert not built.settled
    last = built.run(block(movies, NAMES[3], 0, 5))
    late = {r.step: r.output.values["shift_px"] for r in last if r.step.endswith("/motion")}
    assert [len(late[f"{name}/motion"]) for name in NAMES] == [5] * 4
    assert not built.settled


def test_what_the_caller_does_with_its_pixels_afterwards_changes_nothing(movies):
    built, reused = chain(VOLUME), np.empty_like(movies["red/0"][:8])
    for at in range(0, FRAMES, 8):
        for name in NAMES:
            reused[...] = movies[name][at : at + 8]
            built.run(replace(block(movies, name, at, at + 8), pixels=reused))
            reused[...] = 0
    run(expected := chain(VOLUME), movies, cut=8)
    for name in NAMES:
        for key, array in expected.read(f"{name}/moments").items():
            np.testing.assert_array_equal(built.read(f"{name}/moments")[key], array)


def test_a_plane_that_lost_frames_takes_no_part_in_them_and_the_others_go_on(movies):
    found = run(chain(VOLUME), movies, cut=4, skip={("red/1", 40), ("red/1", 44)})
    assert len(found["red/1/motion"]["shift_px"]) == FRAMES - 8
    shifts = found["green/0/motion"]["shift_px"]
    whole = run(chain(VOLUME), movies, cut=4)["green/0/motion"]["shift_px"]
    np.testing.assert_array_equal(shifts[:40], whole[:40])
    assert np.abs(shifts - whole).max() < 0.1
    assert found["green/0/motion"]["valid"].all()


def test_a_plane_that_stays_away_is_not_waited_for_and_what_waits_is_handed_on_at_the_end(movies):
    others, built, late = NAMES[:3], chain(VOLUME), []
    for at in range(0, 80, 8):
        for name in others:
            late += [r for r in built.run(block(movies, name, at, at + 8)) if r.step == "red/0/motion"]
    came = sum(r.values.frames for r in late)
    assert came == 80  # of 64 frames all at once, as soon as the plane is further behind than that
    assert late[0].values.index == 0
    assert SILENT_FRAMES < 80
    assert built.settled
    short = chain(VOLUME)
    for name in others:
        short.run(block(movies, name, 0, 8))
    ended = [r for r in short.run_end() if r.step.endswith("/motion")]
    assert sorted(r.step for r in ended) == sorted(f"{name}/motion" for name in others)


def test_state_taken_while_the_planes_are_level_goes_on_to_the_same_bits(movies):
    unbroken, built, other = chain(VOLUME), chain(VOLUME), chain(VOLUME)
    expected = run(unbroken, movies, cut=8)
    run(built, movies, cut=8, stop=40)
    assert built.settled
    other.restore(built.state())
    same(run(other, movies, cut=8, start=40), expected, start=40)


def test_a_muted_slice_leaves_the_volume_to_the_others(movies):
    built = chain(VOLUME)

    def broken(*_):
        raise ValueError("no")

    built.step("red/1/slice").operator.update = broken
    found = run(built, movies, cut=8)
    assert [step.id for step in built.steps if step.muted] == ["red/1/slice"]
    assert found["red/1/motion"]["valid"].all()


def test_where_no_slice_measures_any_more_the_volume_is_muted(movies):
    built = chain(VOLUME)
    for name in NAMES:
        built.step(f"{name}/slice").operator.update = None
    run(built, movies, cut=8, stop=16)
    assert built.step("red/0/motion").muted.startswith("needs green/0/slice, green/1/slice, red/0/slice")
    assert built.step("green/1/moments").muted == "needs green/1/motion, which is muted"


def test_green_may_pool_the_red_slices_and_then_follows_them():
    text = VOLUME.replace('inputs = { shift_px = "*/slice', 'planes = ["green"]\ninputs = { shift_px = "red/*/slice')
    built = chain(text)
    assert built.follows == {name: {"red/0", "red/1"} for name in ("green/0", "green/1")}
    assert not any(step.late for step in built.steps)
    assert built.facts()["green/0/motion"]["inputs"]["shift_px"] == "red/*/slice.shift_px"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'after = "source"\n',
            "",
            "it waits for all planes, and can take frames only as they came; write after = 'source'",
        ),
        ("*/slice.shift_px", "*/slise.shift_px", "nothing above gives 'red/0/slise.shift_px'; did you mean"),
        ("*/slice.shift_px", "blue/*/slice.shift_px", "no plane 'blue'"),
        (
            '"*/slice.shift_px"',
            '"*/slice.shift_px", valid = "*/slice.valid"',
            "'valid' is of one plane, not of several, found '\\*/slice.valid'",
        ),
        (
            'kind = "moments"',
            'kind = "motion"\nid = "again"\nafter = "source"\nparams = { mode = "apply" }\nplanes = ["green"]\n'
            'inputs = { shift_px = "red/motion.shift_px" }',
            "step 'red/0/motion' waits for all planes; take what it takes instead",
        ),
    ],
)
def test_a_config_that_pools_wrongly_is_refused_in_one_line(old, new, message):
    assert old in VOLUME
    with pytest.raises(ConfigError, match=message) as caught:
        chain(VOLUME.replace(old, new), SPEC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("held", [False, True], ids=["when all planes are even", "while frames of some planes wait"])
def test_a_change_of_a_late_step_begins_at_its_frame_though_frames_before_it_wait(movies, held):
    built = chain(VOLUME)
    found = run(built, movies, cut=16, stop=32)
    ahead = NAMES[:2] if held else ()
    waited = [r for name in ahead for r in built.run(block(movies, name, 32, 40))]
    reached = {name: 40 if name in ahead else 32 for name in NAMES}
    changes, make = built.changes.plan("motion", "max_shift_px", 1, reached)
    make()
    built.change_now(reached)
    for at in range(32, FRAMES, 8):
        for name in NAMES:
            if (name, at) not in [(name, 32) for name in ahead]:
                waited += built.run(block(movies, name, at, at + 8))
    again = chain(VOLUME)
    for change in changes:
        again.changes.plan_recorded(change, told=True)
    whole = run(again, movies, cut=5)
    for name in NAMES:
        step = f"{name}/motion"
        later = [r.values.arrays["valid"] for r in waited if r.step == step]
        valid = np.concatenate([found[step]["valid"], *later])
        np.testing.assert_array_equal(valid, whole[step]["valid"])
        assert valid[: reached[name]].all()
        assert not valid[reached[name] :].all()
