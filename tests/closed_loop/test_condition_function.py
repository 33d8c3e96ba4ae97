"""Functions of the laboratory's own in conditions."""

import numpy as np
import pytest
from test_condition import NAN, frames, settled

from streamfluo import ConfigError, Spec, create
from streamfluo.core.block import Block

HERE = __name__
asked = []


def both(trace, count):
    asked.append((trace, count))
    return trace > 3 and count > 0


def spread(values):
    return np.ptp(values)


def loudest(traces):
    assert isinstance(traces, dict)
    return max(traces, key=traces.get) == 3


def never_known(trace):
    return None


def broken(trace):
    raise ValueError("no such cell")


number = 4


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"{HERE}:both(extract.traces[12], spots.count)", [0, 1, 1, 1, NAN, 1]),
        (f"not {HERE}:both(extract.traces[12], spots.count)", [1, 0, 0, 0, NAN, 0]),
        (f"{HERE}:both(extract.traces[12], spots.count) for 2 frames", [0, 0, 1, 1, NAN, 0]),
        (f"{HERE}:spread(motion.shift_px) > 3 or {HERE}:spread(extract.traces[12, 7]) == 3", [0, 1, 1, 1, 1, 1]),
        (f"{HERE}:loudest(extract.traces)", [1, 1, 0, 1, 1, 1]),
        (f"{HERE}:never_known(extract.traces[12])", [NAN] * 6),
        (f"{HERE}:both(extract.traces[12] + 1 σ, motion.valid)", [0, 1, 0, 1, 0, 1]),
    ],
)
def test_a_function_takes_values_and_says_whether(text, meant):
    assert np.array_equal(settled(text).holds(frames()), np.array(meant, float), equal_nan=True)


def test_it_is_not_asked_where_a_value_is_not_known():
    asked.clear()
    settled(f"{HERE}:both(extract.traces[12], spots.count)").holds(frames())
    assert len(asked) == 5


def test_one_that_raises_is_unknown_and_the_trigger_says_why():
    trigger = create("trigger", Spec((2, 2), "u2"), when=f"{HERE}:broken(frame)")
    trigger.meet({})
    for n in range(120):
        given = trigger.update(Block(n, [n], np.zeros((1, 2, 2), np.uint16)))
        assert np.isnan(given.values["holds"]).all()
        assert not given.values["fired"].any()
    assert "ValueError: no such cell" in trigger.doubt()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no.such.package:fires(frame)", "cannot import no.such.package"),
        (f"{HERE}:absent(frame)", "has no absent"),
        (f"{HERE}:number(frame)", "number is no function, found int"),
        (f"{HERE}:both", r"expected '\('"),
        (f"{HERE}:both()", "expected a value"),
        (f"{HERE}:both(frame frame)", r"expected '\)'"),
        (f"{HERE}:both(frame, frame) > 3 V and {HERE}:(frame)", "means nothing here"),
    ],
)
def test_what_is_no_function_is_one_line(text, said):
    with pytest.raises(ConfigError, match=said):
        settled(text)
