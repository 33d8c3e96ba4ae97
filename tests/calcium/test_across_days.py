"""The same cells on other days, on simulated animals whose cells are known."""

import copy
import csv
import json
import re

import numpy as np
import pytest
import scipy.sparse as sp
from animals import seen_day, true_ids

from streamfluo import ConfigError, SessionError, register_sessions
from streamfluo.analysis import Day, register_days
from streamfluo.calcium.across_days.report import draw_overlay


def registered(days, **given):
    return register_days([seen.day for seen in days], **{"max_turn_deg": 4.5, **given})


@pytest.fixture(scope="module")
def three():
    days = [seen_day(71, seed, day_warp_px=0.2) for seed in (1, 2, 3)]
    return days, registered(days)


def pairs(found, true):
    two_days = found.day[:, None] < found.day[None]
    same_id, same = (ids[:, None] == ids[None] for ids in (found.cell, true))
    return same_id & two_days, same & two_days


def test_cells_have_one_id_on_all_days(three):
    days, found = three
    given, true = pairs(found, true_ids(days))
    assert true.sum() > 50
    assert 2 * (given & true).sum() / (given.sum() + true.sum()) > 0.95


def test_no_cell_is_two_components_of_a_day(three):
    _, found = three
    assert len({*zip(found.day.tolist(), found.cell.tolist(), strict=True)}) == len(found)
    ids = found.ids()
    for day in range(3):
        assert set(ids[ids[:, day] >= 0, day].tolist()) == set(found.component[found.day == day].tolist())


def test_a_field_lies_where_it_was_turned_and_shifted_to(three):
    days, found = three
    for seen in days[1:]:
        match = found.matches[seen.day.name]
        assert match.map.turn_deg == pytest.approx(seen.turn_deg - days[0].turn_deg, abs=0.7)
    true, place = true_ids(days), found.place_px
    apart = [np.hypot(*np.ptp(place[true == cell], 0)) for cell in np.unique(true) if (true == cell).sum() > 1]
    assert np.median(apart) < 1


def test_probabilities_are_those_of_pairs(three):
    days, found = three
    true = true_ids(days)
    a, b = found.pair_rows
    p, same = found.pairs["probability"], true[a] == true[b]
    assert ((p >= 0) & (p <= 1)).all()
    assert np.mean((p - same) ** 2) < 0.02
    assert p[same].mean() > 0.95
    assert p[~same].mean() < 0.03
    sums = np.zeros((len(found), 3))
    np.add.at(sums, (a, found.day[b]), p)
    assert sums.max() < 1 + 1e-6  # a component is one of another day at most


def test_another_animal_is_refused_with_the_evidence():
    with pytest.raises(SessionError, match=r"no field matches that of day 1: day 2: correlation 0\.\d+ over \d+% .* σ"):
        registered([seen_day(72, 1), seen_day(73, 2)])


def test_a_day_of_another_animal_is_left_out():
    days = [seen_day(71, 1), seen_day(74, 9), seen_day(71, 2)]
    found = registered(days)
    assert found.names == ("day 1", "day 2")
    assert [*found.failed] == ["day 9"]
    assert "σ above what mirrored" in found.failed["day 9"]


def discs(places):
    y, x = np.mgrid[:80, :80]
    return sp.csc_matrix(np.array([(np.hypot(y - a, x - b) < 4).ravel() for a, b in places], float).T)


def test_one_field_without_a_common_cell_is_refused():
    image = np.random.default_rng(5).normal(size=(80, 80))
    places = np.random.default_rng(6).uniform(6, 74, (60, 2))
    apart = [k for k in range(20, 60) if np.hypot(*(places[:20] - places[k]).T).min() > 9][:6]
    days = [Day(name, discs(at), range(len(at)), image) for name, at in (("a", places[:20]), ("b", places[apart]))]
    with pytest.raises(SessionError, match=r"register: a, b have no cell in common; the likeliest pair .* 0\.\d+"):
        register_days(days, max_turn_deg=3.0)


EMPTY = np.zeros((20, 30), np.float32)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ([Day("a", np.ones((600, 1)), [0], EMPTY)], "two sessions at least, found 1"),
        ([Day("a", np.ones((600, 1)), [0], EMPTY), Day("b", np.ones((600, 1)), [0], EMPTY.T)],
         r"b has frames of \(30, 20\), a of \(20, 30\)"),
        ([Day("a", np.ones((600, 1)), [0], EMPTY, 1.0), Day("b", np.ones((600, 1)), [0], EMPTY, 1.6)],
         r"pixels of b are 1\.6 µm, of a 1 µm; was it another objective"),
    ],
)  # fmt: skip
def test_days_that_cannot_be_one_field_are_refused(days, said):
    with pytest.raises(SessionError, match=said):
        register_days(days)


@pytest.mark.parametrize(
    ("footprints", "ids", "said"),
    [
        (np.zeros((600, 2)), [0, 1], "a has no accepted component"),
        (np.zeros((600, 0)), [], "a has no accepted component"),
        (np.ones((500, 1)), [0], r"footprints \(500, 1\) and 1 ids do not fit an image of \(20, 30\)"),
        (np.full((600, 1), np.nan), [0], "must be finite"),
    ],
)
def test_a_day_that_is_none_is_refused(footprints, ids, said):
    with pytest.raises(SessionError, match=said):
        Day("a", footprints, ids, EMPTY)


def test_a_rotation_that_chance_needs_is_refused():
    with pytest.raises(ConfigError, match="max_turn_deg is 0 to 40, found 90"):
        register_days([], max_turn_deg=90)
    with pytest.raises(SessionError, match="sessions are what open_session returns, found 'monday'"):
        register_sessions(["monday", "tuesday"])


def test_a_cell_that_the_rim_cuts_is_compared_as_cut():
    """A disc of 5 px whose other half lies outside the second day's field, and enough cells to find the field by."""
    x = np.arange(80)
    places = np.random.default_rng(4).uniform(12, 68, (40, 2))
    cells = discs([(40.0, 12.0), *places])
    image = np.random.default_rng(5).normal(size=(80, 80))
    first = Day("first", cells, range(41), image)
    moved = [np.roll(d.reshape(80, 80), -12, 1) * (x < 68) for d in cells.toarray().T]
    second = Day("second", sp.csc_matrix(np.array(moved, float).reshape(41, -1).T), range(41), np.roll(image, -12, 1))
    found = register_days([first, second], max_turn_deg=3.0)
    row = found.ids()[found.cell[0]]
    assert row.tolist() == [0, 0]


def test_files_hold_the_table(three, tmp_path):
    _, found = three
    found.save(tmp_path)
    with (tmp_path / "cells.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert [r["session"] for r in rows] == found.session.tolist()
    assert [int(r["component"]) for r in rows] == found.component.tolist()
    assert [int(r["cell"]) for r in rows] == found.cell.tolist()
    assert np.allclose([float(r["probability"]) for r in rows], found.probability, atol=1e-4)
    with np.load(tmp_path / "cells.npz") as stored:
        assert (stored["ids"] == found.ids()).all()
        assert (stored["names"][stored["session"]] == found.session).all()
    facts = json.loads((tmp_path / "registration.json").read_text(encoding="utf-8"))
    assert [day["session"] for day in facts["days"]] == [*found.names]
    assert facts["days"][1]["sigma_above_chance"] > 5


def test_roicat_has_a_label_for_each_component(three, tmp_path):
    _, found = three
    found.save(tmp_path)
    read = json.loads((tmp_path / "streamfluo.tracking.results_clusters.json").read_text(encoding="utf-8"))
    labels = np.array(read["labels"])
    assert [label for one in read["labels_bySession"] for label in one] == labels.tolist()
    assert [len(one) for one in read["labels_bySession"]] == np.bincount(found.day).tolist()
    assert ((labels == -1) == (found.days == 1)).all()
    for label, rows in read["labels_dict"].items():
        assert (labels[rows] == int(label)).all()
        assert len(np.unique(found.cell[rows])) == 1 or label == "-1"


def test_two_days_are_drawn_over_each_other(three, tmp_path):
    _, found = three
    assert draw_overlay(found, tmp_path / "overlay.png", 2).read_bytes()[:4] == b"\x89PNG"


def test_a_field_that_is_deformed_by_more_than_was_found_is_doubtful(three):
    _, found = three
    assert found.doubt == ""
    loose = copy.copy(found)
    loose.model = found.model._replace(sd_px=0.45 * found.radius_px)
    assert loose.doubt.startswith(f"centres of the same cells scatter by {loose.model.sd_px:.1f} px")


def test_what_is_found_says_itself_in_a_line(three):
    assert re.fullmatch(r"<\d+ cells of 3 days, \d+ on more than one>", repr(three[1]))
