"""Cells of `voltage` that people draw and remove: at a frame, with an author, taken back, made again by a rerun."""

import numpy as np
import pytest
from test_voltage import NAMES, SPEC, f1, feed, operator_of, scene, true_spikes

from streamfluo import Block, ConfigError, create
from streamfluo.core.decision import Decision
from streamfluo.core.errors import StateError

AT = 600  # where cells are drawn: a pass, and nothing learned yet


def polygon_of(mask):
    """Corners round each row of a mask, down its left side and up its right one."""
    rows = np.flatnonzero(mask.any(1))
    left = [(float(y), float(np.flatnonzero(mask[y])[0]) - 0.4) for y in rows]
    right = [(float(y), float(np.flatnonzero(mask[y])[-1]) + 0.4) for y in rows[::-1]]
    ends = [(rows[0] - 0.4, left[0][1]), *left, (rows[-1] + 0.4, left[-1][1])]
    return tuple(
        (float(y), float(x)) for y, x in [*ends, (rows[-1] + 0.4, right[0][1]), *right, (ends[0][0], right[-1][1])]
    )


def take(operator, verb, frame=AT, **words):
    decided = operator.decide(Decision(frame, "voltage", verb, author="anna", **words))
    decided.make()
    return decided


def after(operator, movie, start, cut=50):
    """Values by name of the cells that there are last, their ids, and rows of `decisions`, from a frame on."""
    outputs = []
    for at in range(start, len(movie), cut):
        part = movie[at : min(at + cut, len(movie))]
        outputs.append(operator.update(Block(at, np.zeros(len(part), np.int64), part)).values)
    rows = [row for values in outputs for row in zip(*(values["decisions"][n].tolist() for n in DECIDED), strict=True)]
    last = [values for values in outputs if np.array_equal(values["ids"], outputs[-1]["ids"])]
    return {n: np.concatenate([values[n] for values in last]) for n in NAMES}, outputs[-1]["ids"].tolist(), rows


DECIDED = ("frame", "id", "decision", "by", "number")


def test_a_cell_that_is_drawn_is_followed_as_one_that_is_stated_from_then_on():
    movie, truth = scene()
    first, third = truth["masks"][0], truth["masks"][2]
    operator = create("voltage", SPEC, masks=truth["masks"][:1])
    feed(operator, movie[:AT])
    decided = take(operator, "add", polygons=(polygon_of(third),))
    assert decided.said == "decision 1: add 1"
    outputs, spikes = feed(operator, movie[AT:], start=AT)
    assert np.array_equal(operator.read(["masks"])["masks"] == 2, third)
    assert np.array_equal(operator.read(["masks"])["masks"] == 1, first)
    found = spikes[(spikes[:, 1] == 1) & (spikes[:, 0] >= AT + 2500), 0]
    assert f1(found, true_spikes(truth, 2, AT + 2500)) >= 0.9
    alone = create("voltage", SPEC, masks=truth["masks"][:1])
    values, _ = feed(alone, movie)
    assert all(np.array_equal(values[n][AT:, 0], outputs[n][:, 0], equal_nan=True) for n in NAMES)  # not a bit moved


def test_a_removed_cell_gives_nothing_and_taken_back_is_as_if_it_had_never_gone():
    movie, truth = scene()
    operator, unbroken = operator_of(truth), operator_of(truth)
    feed(operator, movie[:AT])
    take(operator, "remove", ids=(1,))
    values, ids, rows = after(operator, movie[: AT + 1000], AT)
    assert ids == [0, 2]
    assert rows == [(AT, 1, "removed", "anna", 1)]
    assert values["trace"].shape == (1000, 2)
    assert operator.read(["outlines"])["outlines"].shape == (2, 24, 2)
    assert sorted(np.unique(operator.read(["masks"])["masks"])) == [0, 1, 3]
    take(operator, "undo", AT + 1000)
    back, ids, rows = after(operator, movie[: AT + 2000], AT + 1000)
    assert ids == [0, 1, 2]
    assert rows == [(AT + 1000, 1, "", "anna", 2)]
    whole, _ = feed(unbroken, movie[: AT + 2000])
    assert all(np.array_equal(back[n], whole[n][AT + 1000 :], equal_nan=True) for n in NAMES)
    assert all(np.array_equal(values[n], whole[n][AT : AT + 1000, [0, 2]], equal_nan=True) for n in NAMES)


def test_ids_are_not_used_again_and_a_state_goes_on_with_them():
    movie, truth = scene()
    operator = create("voltage", SPEC, masks=truth["masks"][:1])
    feed(operator, movie[:100])
    drawn = [polygon_of(mask) for mask in truth["masks"]]
    take(operator, "add", polygons=(drawn[1],))
    take(operator, "undo")
    assert take(operator, "add", polygons=(drawn[1], drawn[2])).said == "decision 3: add 2 3"
    other = create("voltage", SPEC, masks=truth["masks"][:1])
    other.restore(operator.state())
    for one in (operator, other):
        values, ids, rows = after(one, movie[:400], 100)
        assert ids == [0, 2, 3]
        assert [row[1:3] for row in rows] == [(1, "added"), (1, ""), (2, "added"), (3, "added")]
        assert values["trace"].shape == (300, 3)
    take(other, "remove", ids=(3,))
    assert after(other, movie[:500], 400)[1] == [0, 2]


def test_cells_that_are_proposed_stand_behind_those_that_were_drawn_before_and_not_upon_them():
    movie, truth = scene()
    operator = create("voltage", SPEC, radius_px=4.0, propose_s=0.2)
    feed(operator, movie[:50])
    take(operator, "add", polygons=(polygon_of(truth["masks"][1]),))
    _, ids, _ = after(operator, movie[:300], 50)
    assert ids == [0, 1, 2]
    labels = operator.read(["masks"])["masks"]
    assert np.array_equal(labels == 1, truth["masks"][1])
    assert {int(labels[tuple(np.rint(truth["position_px"][k]).astype(int))]) for k in (0, 2)} == {2, 3}


def test_masks_that_are_set_anew_are_all_cells_there_are():
    movie, truth = scene()
    operator = create("voltage", SPEC, masks=truth["masks"][:1])
    feed(operator, movie[:100])
    take(operator, "add", polygons=(polygon_of(truth["masks"][1]),))
    operator.change(type(operator.params)(masks=[[[2, 2], [2, 9], [9, 9], [9, 2]]] * 1))
    assert after(operator, movie[:200], 100)[1] == [0]
    with pytest.raises(ConfigError, match="no decision is left to undo"):
        take(operator, "undo")


NEAR = ((2.0, 2.0), (2.0, 6.0), (6.0, 6.0))
FAR = ((90.0, 90.0), (90.0, 99.0), (99.0, 99.0))


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        ("add", {"polygons": (FAR,)}, "region 0 has no pixel in frames"),
        ("add", {"polygons": (NEAR, NEAR[::-1])}, "polygons 0 and 1 are one cell, drawn twice"),
        ("add", {"polygons": "again"}, "is cell 0, which is followed already"),
        ("remove", {"ids": (7,)}, "no cell 7; the newest is 2"),
        ("remove", {"ids": (1,)}, "cell 1 is removed, by decision 1"),
        ("undo", {"undo_of": 4}, "no decision 4"),
        ("undo", {"undo_of": 2}, "an undo is not undone"),
    ],
)
def test_what_cannot_be_decided_is_said_in_one_line(verb, words, says):
    movie, truth = scene()
    operator = operator_of(truth)
    feed(operator, movie[:40])
    take(operator, "remove", ids=(1,))
    if verb == "undo":
        take(operator, "undo")
    if words.get("polygons") == "again":
        words = {"polygons": (polygon_of(truth["masks"][0]),)}
    with pytest.raises(ConfigError, match=says):
        operator.decide(Decision(40, "voltage", verb, **words))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell_ids", np.zeros(3, np.int64)),
        ("cell_ids", np.arange(2)),
        ("cell_removed", np.zeros(3)),
        ("decisions", np.full((1, 4), 9)),
        ("told_id", np.zeros(5, np.int64)),
        ("next_id", 1),
    ],
)
def test_a_damaged_state_is_refused(name, value):
    _, truth = scene()
    operator = operator_of(truth)
    with pytest.raises(StateError):
        operator.restore({**operator.state(), name: value})
