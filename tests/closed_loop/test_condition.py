"""Conditions: what they mean, frame by frame, and what is said of those that mean nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfluo import ConfigError
from streamfluo.closed_loop.condition import Condition
from streamfluo.closed_loop.condition_nodes import Frames
from streamfluo.core.operator import Gives, Table

NAN = np.nan
GIVES = {
    "extract.traces": Gives("traces", "by_id", ("t", "id"), "σ", "activity"),
    "extract.dff": Gives("dff", "by_id", ("t", "id"), "", "ΔF/F"),
    "spikes": Gives("spikes", "by_id", ("t", "id"), "σ/s", "rate"),
    "motion.valid": Gives("valid", "per_frame", ("t",), "", "whether the shift was measured"),
    "motion.shift_px": Gives("shift_px", "per_frame", ("t", "yx"), "px", "shift"),
    "spots.count": Gives("count", "per_frame", ("t",), "", "number of spots"),
    "spots.spots": Gives("spots", "table", ("frame", "photons"), "", "spots"),
    "light": Gives("light", "per_frame", ("t",), "V", "a photodiode"),
}
TRACES = np.array([[0, 5.0, 1], [4, 5, 1], [4, NAN, 1], [4, 5, 1], [0, 5, 1], [4, 5, 1]])
INPUTS = {
    "extract.traces": TRACES, "extract.traces.ids": np.array([12, 3, 7]),
    "extract.dff": TRACES / 10, "extract.dff.ids": np.array([12, 3, 7]),
    "spikes": TRACES, "spikes.ids": np.array([12, 3, 7]),
    "motion.valid": np.array([True, True, False, True, True, True]),
    "motion.shift_px": np.array([[0.0, 1], [0, 2], [0, -3], [0, 4], [0, 5], [0, 6]]),
    "spots.count": np.array([0, 1, 250, 3, NAN, 5]),
    "spots.spots": Table({"frame": np.array([100, 100, 103, 99, 103, 103]), "photons": np.ones(6)}),
    "light": np.array([0, 1, 2, 3, 4, 5.0]),
}  # fmt: skip
MS = 10**6


def settled(text):
    condition = Condition(text)
    condition.settle({need: GIVES[need] for need in condition.needs})
    return condition


def frames(start=0, stop=6, inputs=INPUTS):
    def cut(name, value):
        if name.endswith(".ids"):
            return value
        if isinstance(value, Table):
            here = (value["frame"] >= 100 + start) & (value["frame"] < 100 + stop)
            return Table({column: array[here] for column, array in value.items()})
        return value[start:stop]

    times = np.arange(start, stop) * 20 * MS
    return Frames(100 + start, times, {name: cut(name, value) for name, value in inputs.items()})


MEANT = [
    ("extract.traces[12] > 3 σ", [0, 1, 1, 1, 0, 1]),
    ("extract.traces[12] > 3", [0, 1, 1, 1, 0, 1]),
    ("extract.traces[3] > 3 σ", [1, 1, NAN, 1, 1, 1]),
    ("extract.traces[99] > 3 σ", [NAN] * 6),
    ("not extract.traces[99] > 3 σ", [NAN] * 6),
    ("extract.traces[12] > 3 σ for 2 frames", [0, 0, 1, 1, 0, 0]),
    ("extract.traces[12] > 3 σ for 40 ms", [0, 0, 0, 1, 0, 0]),
    ("extract.traces[12] > 3 σ for .04 s", [0, 0, 0, 1, 0, 0]),
    ("extract.traces[3] > 3 σ for 2 frames", [0, 1, NAN, 0, 1, 1]),
    ("rising(extract.traces[12] > 3 σ)", [NAN, 1, 0, 0, 0, 1]),
    ("falling(extract.traces[12] > 3 σ)", [NAN, 0, 0, 0, 1, 0]),
    ("rising(extract.traces[3] > 3 σ)", [NAN, 0, NAN, NAN, 0, 0]),
    ("mean(extract.dff[12, 7]) > .2", [0, 1, 1, 1, 0, 1]),
    ("mean(extract.dff) > 30 %", [0, 1, NAN, 1, 0, 1]),
    ("max(extract.traces[12, 7]) == 4 σ", [0, 1, 1, 1, 0, 1]),
    ("spikes[12] > 3 σ/s", [0, 1, 1, 1, 0, 1]),
    ("spikes[12] / spikes[7] >= 4", [0, 1, 1, 1, 0, 1]),
    ("motion.valid", [1, 1, 0, 1, 1, 1]),
    ("motion.valid == false", [0, 0, 1, 0, 0, 0]),
    ("not motion.valid", [0, 0, 1, 0, 0, 0]),
    ("abs(motion.shift_px[1]) > 2.5 px", [0, 0, 1, 1, 1, 1]),
    ("motion.shift_px[1] + 1 px > 2 px", [0, 1, 0, 1, 1, 1]),
    ("-motion.shift_px[1] > 2 px", [0, 0, 1, 0, 0, 0]),
    ("spots.count > 200", [0, 0, 1, 0, NAN, 0]),
    ("count(spots.spots) >= 2", [1, 0, 0, 1, 0, 0]),
    ("frame >= 104", [0, 0, 0, 0, 1, 1]),
    ("time > 30 ms and time < 80 ms", [0, 0, 1, 1, 0, 0]),
    ("spots.count > 200 or true", [1, 1, 1, 1, 1, 1]),
    ("spots.count > 200 and false", [0, 0, 0, 0, 0, 0]),
    ("spots.count > 2 and true", [0, 0, 1, 1, NAN, 1]),
    ("light > 1 V and light < 4 V or extract.traces[7] > 9 σ", [0, 0, 1, 1, 0, 0]),
    ("(light > 1 V or light < 1 V) and not light > 3 V", [1, 0, 1, 1, 0, 0]),
    ("2 + 3 * 4 == 14", [1] * 6),
    ("8 / 4 / 2 == 1", [1] * 6),
    ("light / (light - light) > 0", [NAN] * 6),
]


@pytest.mark.parametrize(("text", "expected"), MEANT, ids=[text for text, _ in MEANT])
def test_what_a_condition_means(text, expected):
    np.testing.assert_array_equal(settled(text).holds(frames()), expected)


@pytest.mark.parametrize("text", [text for text, _ in MEANT])
def test_it_means_the_same_however_frames_are_cut(text):
    whole = settled(text).holds(frames())
    apart, resumed = settled(text), settled(text)
    found = []
    for start in range(6):
        found.append(apart.holds(frames(start, start + 1)))
        resumed.recall(apart.memory())
        apart, resumed = resumed, settled(text)
    np.testing.assert_array_equal(np.concatenate(found), whole)


WRONG = [
    ("", "character 1: expected a value, a number or (, found 'the end'"),
    ("extract.traces[12] >", "character 21: expected a value, a number or (, found 'the end'"),
    ("extract.traces > 3 σ", "several values a frame; name one, extract.traces[3], or take their mean"),
    ("extract.traces[12] > 3 V", "extract.traces[12] is in σ, 3 V in V"),
    ("light + motion.shift_px[0] > 1", "light is in V, motion.shift_px[0] in px"),
    ("extract.traces[12]", "is a number; a condition compares it with another"),
    ("extract.traces[12] > 3 σ for 2", "character 31: expected frames, s or ms, found 'the end'"),
    ("extract.traces[12] > 3 σ for 0 frames", "a whole number of frames, at least 1, found '0'"),
    ("extract.traces[-1] > 3 σ", "the number of a component, 0 or more, found '-'"),
    ("extract.traces[1.5] > 3 σ", "the number of a component, 0 or more, found '1.5'"),
    ("1 < light < 3", "expected one comparison; join two with and, found '<'"),
    ("light > 1 V & light < 3 V", "'&' means nothing here"),
    ("__import__('os')", "means nothing here"),
    ("exec(light)", "expected one of mean, max, min, sum, median, abs, count, rising, falling before (, found 'exec'"),
    ("mean(3) > 1", "mean is of the values of a step, found '3'"),
    ("count(light) > 1", "light is no table; count is the number of a table's rows"),
    ("spots.spots > 1", "a table; count(spots.spots) is the number of its rows in a frame"),
    ("light[2] > 1 V", "light is one number a frame; write it without [ ]"),
    ("motion.valid > true", "true and false are the same or not; write == or !="),
    ("light == true", "compares light, a number, with true, true or false"),
    ("(light > 1", "expected ')', found 'the end'"),
    ("light > 1 V light", "expected and, or, for, or the end, found 'light'"),
    ("rising(light)", "rising takes true or false, found 'light', which is a number"),
    ("(" * 50 + "light" + ")" * 50, "more than 40 deep"),
    ("not " * 50 + "true", "more than 40 deep"),
    ("light > 1 or " * 200 + "true", "2000 is the most"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_what_is_said_of_a_condition_that_is_wrong(text, says):
    with pytest.raises(ConfigError) as error:
        settled(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(alphabet="trueandfornotlight.[]()<>=!+-*/ 0123456789σ%,", max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_condition_or_refused_in_one_line(text):
    try:
        condition = Condition(text)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert set(condition.needs) <= set(text.replace("(", " ").split()) | {n for n in condition.needs if n in text}


def test_a_component_that_is_not_there_is_named():
    condition = settled("extract.traces[99] > 3 σ or mean(extract.traces[3, 98]) > 1 σ")
    condition.holds(frames())
    assert condition.absent == ["extract.traces[99]", "extract.traces[98]"]


def test_frames_that_never_came_interrupt_what_lasts():
    condition = settled("extract.traces[3] > 3 σ for 2 frames")
    np.testing.assert_array_equal(condition.holds(frames(3, 5)), [0, 1])
    condition.interrupt()
    np.testing.assert_array_equal(condition.holds(frames(5, 6)), [0])
