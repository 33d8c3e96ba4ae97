"""Steps that stand once for the slices of a channel: values by id and snapshots of all, whatever blocks come."""

from dataclasses import replace

import numpy as np
import pytest
from test_chain_planes import FRAMES, NAMES, SPEC, block, chain, movies
from toys import Toy, toys  # noqa: F401

from streamfluo import ConfigError, Gives, Output, Plane, Spec
from streamfluo.core.registry import register
from streamfluo.engine.silent_planes import SILENT_FRAMES

__all__ = ["movies"]

ONCE = """
[[step]]
kind = "blobs"
[[step]]
kind = "stack"
"""
EVERY = 10


class Blobs(Toy):
    """Two blobs a plane: the mean of half of the frame, the second from frame 20 on; their sums as a snapshot."""

    gives = (
        Gives("bright", "by_id", ("t", "id"), "ADU", "mean"),
        Gives("present", "by_id", ("t", "id"), "", "whether it is there"),
        Gives("sums", "snapshot", ("id", "pair"), "ADU", "sum of the means, and how many frames"),
    )

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.sums = np.zeros((2, 2))

    def update(self, block, inputs={}):
        bright = np.stack([np.nanmean(block.pixels[:, :12], (1, 2)), np.nanmean(block.pixels[:, 12:], (1, 2))], 1)
        present = np.stack([np.ones(len(block), bool), np.arange(block.index, block.stop) >= 20], 1)
        for row in bright:
            self.sums += np.stack([row, np.ones(2)], 1)
        return Output(block.index, {"ids": np.array([3, 7]), "bright": bright, "present": present})

    def read(self, names=None, inputs={}):
        return {name: self.sums.copy() for name in self.snapshot_names(names)}

    def state(self):
        return {"sums": self.sums.copy()}

    def restore(self, state):
        self.sums = state["sums"].copy()


class Stack(Toy):
    """What it was given, frame by frame."""

    needs = of_planes = ("bright", "sums")
    once = True
    reads_every = EVERY
    gives = (Gives("total", "per_frame", ("t",), "ADU", "sum of all that is known"),)

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.taken, self.planes = [], ()

    def meet_planes(self, planes):
        self.planes = tuple(planes)

    def update(self, block, inputs={}):
        values = inputs["bright"]
        if inputs["sums"] is not None:
            self.taken.append((block.index, inputs["sums"].copy(), inputs["sums.planes"].copy()))
        for t in range(len(block)):
            self.taken.append((block.index + t, values[t].copy(), inputs["bright.times_ns"][:, t].copy()))
        return Output(block.index, {"total": np.nansum(values, 1)})


@pytest.fixture(autouse=True)
def two_kinds(toys):  # noqa: F811
    register("blobs")(Blobs)
    register("stack")(Stack)


def run(built, movies, cut, names=NAMES, stop=FRAMES, skip=()):
    given = []
    for at in range(0, stop, cut):
        for n, name in enumerate(names):
            if (name, at) in skip:
                given += built.gap(at, min(cut, stop - at), name)
                continue
            one = block(movies, name, at, min(at + cut, stop))
            given += built.run(replace(one, times_ns=one.times_ns + n))
    given += built.run_end()
    return {r.step: r for r in given}, [r for r in given if r.step.endswith("stack")]


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one[0] == other[0]
        for a, b in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(a, b)


def test_it_stands_in_the_first_slice_of_each_channel_and_takes_of_all_of_them():
    built = chain(ONCE)
    assert [step.id for step in built.steps if step.config.kind == "stack"] == ["red/0/stack", "green/0/stack"]
    assert built.facts()["green/0/stack"]["inputs"] == {
        "bright": "green/*/blobs.bright",
        "sums": "green/*/blobs.sums",
    }
    assert [plane.name for plane in built.step("green/0/stack").operator.planes] == ["green/0", "green/1"]


@pytest.mark.parametrize("cut", [1, 7, 32])
def test_it_gets_values_side_by_side_and_snapshots_as_of_a_frame_in_whatever_blocks_they_come(movies, cut):
    built, blocks_of_four = chain(ONCE), chain(ONCE)
    run(built, movies, cut)
    run(blocks_of_four, movies, 4)
    taken = built.step("green/0/stack").operator.taken
    same(taken, blocks_of_four.step("green/0/stack").operator.taken)
    assert built.settled
    halves = np.stack(
        [movies[n][:, rows].mean((1, 2)) for n in ("green/0", "green/1") for rows in (slice(12), slice(12, 24))]
    )
    expected = halves.T.copy()
    expected[:20, 1::2] = np.nan
    frames = [row for row in taken if len(row[1].shape) == 1]
    np.testing.assert_allclose([row[1] for row in frames], expected)
    assert frames[5][2].tolist() == [5 * 10**8 + 2, 5 * 10**8 + 3]
    sums = {row[0]: row for row in taken if len(row[1].shape) == 2}
    assert sorted(sums) == list(range(EVERY, FRAMES, EVERY))
    np.testing.assert_allclose(sums[30][1][:, 0], halves[:, :30].sum(1))
    assert sums[30][1][:, 1].tolist() == [30] * 4
    assert sums[30][2].tolist() == [0, 0, 1, 1]


def test_a_plane_that_lost_frames_is_not_known_in_them(movies):
    built = chain(ONCE)
    run(built, movies, 4, skip={("green/1", 40), ("green/1", 44)})
    frames = {row[0]: row for row in built.step("green/0/stack").operator.taken if len(row[1].shape) == 1}
    assert np.isnan(frames[41][1][2:]).all()
    assert np.isfinite(frames[41][1][:2]).all()
    assert frames[41][2].tolist() == [41 * 10**8 + 2, -1]
    assert np.isfinite(frames[48][1]).all()


def test_a_plane_that_is_muted_or_stays_away_leaves_it_to_the_others(movies):
    built = chain(ONCE)
    built.step("green/1/blobs").operator.update = None
    _, given = run(built, movies, 8)
    assert [step.id for step in built.steps if step.muted] == ["green/1/blobs"]
    assert sum(r.values.frames for r in given if r.step == "green/0/stack") == FRAMES
    taken = built.step("green/0/stack").operator.taken
    assert {row[1].shape for row in taken if len(row[1].shape) == 1} == {(2,)}
    assert next(row[2].tolist() for row in taken if len(row[1].shape) == 2) == [0, 0]
    away = chain(ONCE)
    _, given = run(away, movies, 8, names=NAMES[:3])
    assert SILENT_FRAMES < FRAMES
    assert sum(r.values.frames for r in given if r.step == "green/0/stack") == FRAMES


def test_where_no_slice_gives_any_more_it_is_muted(movies):
    built = chain(ONCE)
    for name in ("green/0", "green/1"):
        built.step(f"{name}/blobs").operator.update = None
    run(built, movies, 8)
    assert built.step("green/0/stack").muted.startswith("needs green/0/blobs, green/1/blobs")
    assert built.step("red/0/stack").muted is None


def test_state_taken_between_time_points_goes_on_to_the_same_values(movies):
    whole, first, second = chain(ONCE), chain(ONCE), chain(ONCE)
    run(whole, movies, 8)
    for at in range(0, 40, 8):
        for name in NAMES:
            first.run(block(movies, name, at, at + 8))
    assert first.settled
    second.restore(first.state())
    for at in range(40, FRAMES, 8):
        for n, name in enumerate(NAMES):
            one = block(movies, name, at, at + 8)
            second.run(replace(one, times_ns=one.times_ns + n))
    expected = [row for row in whole.step("red/0/stack").operator.taken if row[0] >= 40]
    assert expected[0][1].ndim == 2  # the snapshot as of frame 40, which was not handed over yet
    same(second.step("red/0/stack").operator.taken, expected)


def test_planes_that_it_is_given_alone_are_taken():
    built = chain(ONCE.replace('kind = "stack"', 'kind = "stack"\nplanes = ["green"]'))
    assert [step.id for step in built.steps if step.config.kind == "stack"] == ["green/0/stack"]
    only = ONCE.replace('kind = "blobs"', 'kind = "blobs"\nplanes = ["green"]')  # nothing is found on red
    assert [step.id for step in chain(only).steps if step.config.kind == "stack"] == ["green/0/stack"]


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ('[[step]]\nkind = "stack"', SPEC, "nothing above gives all of bright, sums; put what does before it"),
        (
            ONCE.replace('kind = "stack"', 'kind = "stack"\ninputs = { bright = "green/1/blobs.bright" }'), SPEC,
            "'bright' is of several planes, `\\*/step.bright`, found 'green/1/blobs.bright'",
        ),
    ],
)  # fmt: skip
def test_a_config_in_which_it_has_nothing_to_join_is_refused_in_one_line(text, spec, message):
    with pytest.raises(ConfigError, match=message) as caught:
        chain(text, spec)
    assert "\n" not in str(caught.value)


def test_slices_of_pixels_of_different_size_are_told_apart():
    planes = (Plane("green", 0, pixel_um=1.0), Plane("green", 1, pixel_um=2.0))
    built = chain(ONCE, Spec((24, 30), "uint16", planes=planes))
    assert [plane.pixel_um for plane in built.step("green/0/stack").operator.planes] == [1.0, 2.0]


def test_one_slice_alone_is_taken_as_well(movies):
    built = chain(ONCE, Spec((24, 30), "uint16", 0.1))
    found = [built.run(replace(block(movies, "red/0", at, at + 8), channel="", z=0)) for at in range(0, FRAMES, 8)]
    assert sum(r.values.frames for results in found for r in results if r.step == "stack") == FRAMES
    sums = [row for row in built.step("stack").operator.taken if row[1].ndim == 2]
    assert [row[0] for row in sums] == list(range(EVERY, FRAMES, EVERY))
    only = chain(ONCE.replace('kind = "stack"', 'kind = "stack"\nplanes = ["green/1"]'))
    assert [step.id for step in only.steps if step.config.kind == "stack"] == ["green/1/stack"]


def test_it_may_take_of_steps_that_wait_for_all_planes_themselves(movies):
    text = """
[[step]]
id = "slice"
kind = "motion"
params = { init_frames = 10, max_shift_px = 6 }
[[step]]
kind = "motion"
after = "source"
params = { mode = "apply", max_shift_px = 6 }
inputs = { shift_px = "*/slice.shift_px" }
"""
    built, other = chain(text + ONCE), chain(text + ONCE)
    run(built, movies, 32)
    run(other, movies, 5)
    assert all(step.late for step in built.steps if step.config.kind in ("blobs", "stack"))
    assert not [step.muted for step in built.steps if step.muted]
    for plane in ("red/0", "green/0"):
        taken = built.step(f"{plane}/stack").operator.taken
        same(taken, other.step(f"{plane}/stack").operator.taken)
        frames = [row for row in taken if row[1].ndim == 1]
        assert [row[0] for row in frames] == list(range(FRAMES))
        assert np.isfinite(np.array([row[1] for row in frames])[20:]).all()
        assert len(taken) - len(frames) == (FRAMES - 1) // EVERY
