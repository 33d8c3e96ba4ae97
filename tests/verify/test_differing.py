"""Values that were recomputed are compared by frame and by id, to the bit."""

from types import SimpleNamespace

import numpy as np

from streamfluo.core.operator import Gives
from streamfluo.verify.differing import Values, differing_values

GIVES = (Gives("traces", "by_id", ("t", "id"), "σ", "activity"),)


def said(ids, traces, again_ids, again):
    """What differs between traces (t, K) that a session has, and those that were recomputed, of the same frames."""
    session = SimpleNamespace(
        steps={"extract": SimpleNamespace(gives=GIVES, device="")}, state="finished",
        values=lambda step: {"ids": np.array(ids), "traces": np.array(traces)},
        index=lambda step: np.arange(len(traces)),
    )  # fmt: skip
    kept = Values([{"ids": np.array(again_ids), "traces": np.array(again)}], [np.arange(len(again))])
    return [str(finding) for finding in differing_values(session, {"extract": kept}, False)]


def test_traces_are_compared_by_id_whatever_their_order():
    assert said([3, 7], [[1.0, 2.0], [3.0, 4.0]], [7, 3], [[2.0, 1.0], [4.0, 3.0]]) == []
    (one,) = said([3, 7], [[1.0, 2.0], [3.0, 4.0]], [7, 3], [[2.0, 1.0], [4.0, 3.5]])
    assert one.endswith("1 of 4 numbers differ, by 0.5 at most, first at frame 1")


def test_an_id_that_the_session_does_not_have_is_said():
    (one,) = said([3, 7], [[1.0, 2.0]], [3, 8], [[1.0, 2.0]])
    assert one == "not reproducible: extract.traces: other ids than the session has"
