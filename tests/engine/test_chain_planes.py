"""A chain over several planes: steps of each apart, as chains of their own give it, and values taken across."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamfluo import Block, Chain, ConfigError, FrameError, Plane, Spec
from streamfluo.engine.config import parse_config

SHAPE = (24, 30)
NAMES = ("red/0", "red/1", "green/0", "green/1")
PLANES = tuple(Plane(name.split("/")[0], int(name.split("/")[1])) for name in NAMES)
SPEC = Spec(SHAPE, "uint16", 0.1, planes=PLANES)
FRAMES = 80


@pytest.fixture(scope="module")
def movies():
    """A movie of each plane: tissue that moves the same way in all of them, as bright as the plane says."""
    rng = np.random.default_rng(5)
    path = np.cumsum(rng.integers(-1, 2, (FRAMES, 2)), 0).clip(-2, 2)
    made = {}
    for n, name in enumerate(NAMES):
        tissue = gaussian_filter(rng.standard_normal((48, 48)), 1.5) * 2000 * (n + 1) + 3000 * (n + 1)
        frames = [tissue[6 + y : 30 + y, 6 + x : 36 + x] for y, x in path]
        made[name] = rng.poisson(frames).astype(np.uint16)
    return made


def chain(text, spec=SPEC):
    return Chain(parse_config(text, "c.toml"), spec)


def block(movies, name, start, stop):
    channel, _, z = name.rpartition("/")
    return Block(start, np.arange(start, stop) * 10**8, movies[name][start:stop], channel, int(z))


def run(built, movies, order=NAMES, cut=32, start=0, stop=FRAMES, skip=()):
    """Push every plane, `cut` frames of each in turn; return what each step gave, joined."""
    given = {}
    for at in range(start, stop, cut):
        for name in order:
            if (name, at) in skip:
                built.gap(at, min(cut, stop - at), name)
                continue
            for result in built.run(block(movies, name, at, min(at + cut, stop))):
                for key, array in result.values.arrays.items() if result.values else ():
                    given.setdefault(result.step, {}).setdefault(key, []).append(array)
    return {step: {key: np.concatenate(parts) for key, parts in found.items()} for step, found in given.items()}


MOMENTS_OF_MOTION = """
[[step]]
kind = "motion"
params = { init_frames = 10, max_shift_px = 6 }
[[step]]
kind = "moments"
"""


def test_each_plane_gets_the_steps_and_what_they_give_is_what_a_stream_of_its_own_gives(movies):
    built = chain(MOMENTS_OF_MOTION)
    assert [step.id for step in built.steps] == [f"{name}/{kind}" for kind in ("motion", "moments") for name in NAMES]
    found = run(built, movies, cut=7)
    for name in NAMES:
        alone = chain(MOMENTS_OF_MOTION, SPEC.plane(name))
        for kind, values in run(alone, {"/0": movies[name]}, order=["/0"]).items():
            for key, array in values.items():
                np.testing.assert_array_equal(found[f"{name}/{kind}"][key], array, err_msg=f"{name} {kind} {key}")
        for key, array in alone.read("moments").items():
            np.testing.assert_array_equal(built.read(f"{name}/moments")[key], array)


ACROSS = """
[[step]]
kind = "motion"
planes = ["red"]
params = { init_frames = 10, max_shift_px = 6 }
[[step]]
id = "apply"
kind = "motion"
planes = ["green"]
inputs = { shift_px = "red/motion.shift_px", valid = "red/motion.valid" }
params = { mode = "apply", max_shift_px = 6 }
[[step]]
kind = "moments"
"""


@pytest.mark.parametrize("cut", [1, 8, 32])
def test_shifts_measured_on_one_channel_are_applied_to_the_other(movies, cut):
    built = chain(ACROSS)
    assert built.follows == {"green/0": {"red/0"}, "green/1": {"red/1"}}
    assert [s.after for s in built.steps if s.plane == "green/1"] == ["green/1/source", "green/1/apply"]
    assert [s.after for s in built.steps if s.plane == "red/1"] == ["red/1/source", "red/1/motion"]
    found = run(built, movies, cut=cut)
    for z in (0, 1):
        measured = found[f"red/{z}/motion"]
        assert measured["valid"].all()
        np.testing.assert_array_equal(found[f"green/{z}/apply"]["shift_px"], measured["shift_px"])
        known = measured["shift_px"].tolist()
        text = f'[[step]]\nkind = "motion"\nparams = {{ mode = "apply", max_shift_px = 6, shifts_px = {known} }}\n'
        alone = chain(text, SPEC.plane(f"green/{z}"))
        twice = run(alone, {"/0": movies[f"green/{z}"]}, order=["/0"])["motion"]
        np.testing.assert_array_equal(found[f"green/{z}/apply"]["correlation"], twice["correlation"])
        np.testing.assert_array_equal(built.read(f"green/{z}/apply")["mean"], alone.read("motion")["mean"])


def test_frames_that_the_leading_plane_lost_are_not_valid_in_the_one_that_follows(movies):
    found = run(chain(ACROSS), movies, cut=4, skip={("red/0", 0), ("red/0", 40)})
    lost = np.zeros(FRAMES, bool)
    lost[0:4] = lost[40:44] = True
    valid = found["green/0/apply"]["valid"]
    assert not valid[lost].any()
    assert valid[~lost].mean() > 0.9
    assert found["green/1/apply"]["valid"].mean() > 0.9


def test_a_plane_that_follows_may_be_behind_and_have_gaps_of_its_own(movies):
    built = chain(ACROSS)
    for n in range(0, 40, 4):
        built.run(block(movies, "red/0", n, n + 4))
    assert not built.settled
    found = [r for n in (0, 4, 12) for r in built.run(block(movies, "green/0", n, n + 4))]
    shifts = [r.values.arrays["shift_px"] for r in found if r.step == "green/0/apply"]
    again = run(chain(ACROSS), movies, cut=4, stop=40)["red/0/motion"]["shift_px"]
    np.testing.assert_array_equal(np.concatenate(shifts), np.concatenate([again[0:8], again[12:16]]))
    built.gap(16, 24, "green/0")
    assert built.settled


def test_state_taken_while_the_planes_are_level_goes_on_to_the_same_bits(movies):
    built, unbroken = chain(ACROSS), chain(ACROSS)
    expected = run(unbroken, movies, cut=8)
    run(built, movies, cut=8, stop=40)
    assert built.settled
    other = chain(ACROSS)
    other.restore(built.state())
    found = run(other, movies, cut=8, start=40)
    for step, values in found.items():
        for key, array in values.items():
            np.testing.assert_array_equal(array, expected[step][key][40:], err_msg=f"{step} {key}")
    for step in unbroken.steps:
        for key, array in unbroken.read(step.id).items():
            np.testing.assert_array_equal(other.read(step.id)[key], array)


def test_a_step_that_is_muted_takes_those_of_other_planes_with_it_that_need_it(movies):
    built = chain(ACROSS)

    def broken(*_):
        raise ValueError("no")

    built.step("red/1/motion").operator.update = broken
    run(built, movies, cut=8)
    muted = {step.id: step.muted for step in built.steps if step.muted}
    assert sorted(muted) == ["green/1/apply", "green/1/moments", "red/1/moments", "red/1/motion"]
    assert muted["green/1/apply"] == "needs red/1/motion, which is muted"


def across(planes, given):
    """A config whose second step takes shift_px of the first one from elsewhere."""
    return f"""
[[step]]
kind = "motion"
planes = ["red"]
[[step]]
id = "apply"
kind = "motion"
planes = {planes}
inputs = {{ shift_px = "{given}" }}
params = {{ mode = "apply" }}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[step]]\nkind = "moments"\nplanes = ["gren"]', r"step 'moments': no plane 'gren'; did you mean 'green'\?"),
        (across(["green"], "rad/motion.shift_px"), r"step 'apply': no plane 'rad'; did you mean 'red'\?"),
        (across(["green"], "red/moton.shift_px"), r"nothing above gives 'red/moton.shift_px'; did you mean 'red/"),
        (across(["green"], "green/motion.shift_px"), "nothing above gives 'green/motion.shift_px'"),
        (across(["green"], "motion.shift_px"), "nothing above gives 'motion.shift_px'"),
        (
            '[[step]]\nkind = "motion"\n[[step]]\nkind = "motion"\nid = "apply"\nafter = "source"\n'
            'planes = ["red/0"]\nparams = { mode = "apply" }\ninputs = { shift_px = "green/motion.shift_px" }\n'
            '[[step]]\nkind = "motion"\nid = "back"\nafter = "source"\nplanes = ["green/0"]\n'
            'params = { mode = "apply" }\ninputs = { shift_px = "red/motion.shift_px" }\n',
            "planes red/0, green/0 take values from each other; one must be first",
        ),
        (
            '[[step]]\nkind = "bin"\nplanes = ["red"]\nparams = { bin_frames = 2 }\n'
            + across(["green"], "red/motion.shift_px"),
            "belongs to other frames",
        ),
    ],
)
def test_a_config_that_names_planes_wrongly_is_refused_in_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        chain(text)
    assert "\n" not in str(caught.value)


def test_a_channel_of_several_slices_is_named_by_slice_where_none_is_beside():
    spec = Spec(SHAPE, "uint16", planes=(Plane("red", 0), Plane("red", 1), Plane("green", 5)))
    with pytest.raises(ConfigError, match="'red' is 2 planes; name one: red/0, red/1"):
        chain(across(["green"], "red/motion.shift_px"), spec)
    assert chain(across(["green"], "red/1/motion.shift_px"), spec).follows == {"green/5": {"red/1"}}


def test_planes_named_for_a_stream_that_has_none_are_refused():
    with pytest.raises(ConfigError, match="step 'motion': no plane 'red'; the stream has one plane only"):
        chain(ACROSS, Spec(SHAPE, "uint16"))


def test_a_block_of_a_plane_that_the_stream_does_not_have_is_refused(movies):
    with pytest.raises(FrameError, match="frame 0: no plane 'blue/0'"):
        chain(MOMENTS_OF_MOTION).run(Block(0, [0], movies["red/0"][:1], "blue"))


LIVE = """
[[step]]
kind = "motion"
params = { init_frames = 10, max_shift_px = 6 }
"""


@pytest.mark.parametrize("step", ["motion", "green/1/motion"])
def test_a_change_is_made_in_every_plane_that_is_meant_at_its_own_frame(movies, step):
    def changed(cut):
        built = chain(LIVE)
        found = run(built, movies, cut=16, stop=32)
        reached = {"red/0": 32, "red/1": 32, "green/0": 32, "green/1": 32}
        changes, make = built.changes.plan(step, "max_shift_px", 1, reached)
        make()
        later = run(built, movies, cut=cut, start=32)
        assert [built.step(change.step).operator.params.max_shift_px for change in changes] == [1] * len(changes)
        names = [f"{name}/motion" for name in NAMES]
        return changes, {n: np.concatenate([found[n]["shift_px"], later[n]["shift_px"]]) for n in names}

    changes, shifts = changed(16)
    assert [change.step for change in changes] == ([f"{name}/motion" for name in NAMES] if step == "motion" else [step])
    again = chain(LIVE)
    for change in changes:
        again.changes.plan_recorded(change, told=False)
    whole = run(again, movies, cut=7)
    unchanged = run(chain(LIVE), movies, cut=7)
    for name in NAMES:
        found = whole[f"{name}/motion"]["shift_px"]
        np.testing.assert_array_equal(found, shifts[f"{name}/motion"])
        meant = f"{name}/motion" in [change.step for change in changes]
        assert np.array_equal(found, unchanged[f"{name}/motion"]["shift_px"]) != meant
    assert [event["step"] for event in again.events if event["event"] == "set"] == [change.step for change in changes]
