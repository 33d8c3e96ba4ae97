"""Curation of components while frames come: what is decided is given, the rest goes on as before."""

import numpy as np
import pytest
import scipy.sparse

from streamfluo import Block, Chain, ConfigError, Spec, StateError, create, open_session, open_source
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.core.decision import Decision
from streamfluo.core.registry import operators
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.simulate import calcium
from streamfluo.testing import Subject
from streamfluo.testing.decision_laws import run as decided_run

FRAMES, SHAPE, SEED = 420, (64, 64), 70151
DECISION = list(MEASURES).index("decision")
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


@pytest.fixture(scope="module")
def field():
    """A movie of six cells; masks of two halves of one, of the others, and of a place without a cell."""
    movie, truth = calcium(
        frames=FRAMES, shape=SHAPE, seed=SEED, neurons=6, neuron_sigma_px=3.0, motion_px=0.0, signal=1.0
    )
    parts = (truth["A_data"], truth["A_indices"], truth["A_indptr"])
    cells = scipy.sparse.csc_matrix(parts, shape=truth["A_shape"]).toarray().T.reshape(-1, *SHAPE)
    masks = cells * (cells > 0.2 * cells.max((1, 2), keepdims=True))
    centres = truth["position_px"]
    inner = int(np.flatnonzero((np.abs(centres - 32) < 20).all(1))[0])
    halves = [masks[inner] * (centres[inner, 1] > X), masks[inner] * (centres[inner, 1] <= X)]
    far = np.min([np.hypot(Y - y, X - x) for y, x in centres], 0)[10:-10, 10:-10]
    y, x = np.array(np.unravel_index(far.argmax(), far.shape)) + 10
    vessel = (np.hypot(Y - y, X - x) < 4).astype(float)
    others = [mask for k, mask in enumerate(masks) if k != inner]
    return movie, {"whole": masks[inner], "halves": halves, "others": others, "vessel": vessel, "cells": masks}


def extract(seeds, **params):
    begins = {"init": "seeded", "seeds": np.array(seeds)} if len(seeds) else {}
    given = {"neuron_sigma_px": 3.0, "init_frames": 60, "init_delay_frames": 20, **begins, **params}
    return create("extract", Spec(SHAPE, "uint16", interval_s=1 / 30), **given)


def run(operator, movie, decisions=(), stop=FRAMES):
    """The values of each frame, and the final ones by id, of a run with decisions (frame, verb, ids)."""
    live, at = [], 0
    for frame, verb, ids in [*decisions, (stop, "", ())]:
        for start in range(at, frame, 32):
            block = movie[start : min(start + 32, frame)]
            live.append(operator.update(Block(start, np.arange(len(block)), block)).values)
        at = frame
        if verb:
            operator.decide(Decision(frame, "extract", verb, ids, "anna", "seen")).make()
    live.append(operator.finish().values)
    settled = {}
    for values in live:
        table = values["settled"]
        for i in np.unique(table["id"]).tolist():
            of = table["id"] == i
            settled.setdefault(i, np.full(stop, np.nan))[table["frame"][of]] = table["raw"][of]
    return live, settled


def of_ids(live, ids):
    """The live traces (t, K) of these ids, 0 where they are not given."""
    parts = []
    for values in live:
        part = np.zeros((len(values["traces"]), len(ids)))
        for column, i in enumerate(values["ids"].tolist()):
            if i in ids:
                part[:, ids.index(i)] = values["traces"][:, column]
        parts.append(part)
    return np.concatenate(parts)


def together(a, b, start):
    known = np.isfinite(a) & np.isfinite(b) & (np.arange(len(a)) >= start)
    return np.corrcoef(a[known], b[known])[0, 1]


def accepted_images(operator):
    shown = operator.read(["footprints", "quality_now"])
    images = []
    for box, row in zip(shown["footprints"], shown["quality_now"], strict=True):
        if row[2]:
            image = np.zeros(SHAPE)
            top, left = row[7:9].astype(int)
            image[top : top + box.shape[0], left : left + box.shape[1]] = box
            images.append(image)
    return images


def precision(operator, cells):
    images = accepted_images(operator)
    return np.mean([max((i * c).sum() / np.linalg.norm(i) / np.linalg.norm(c) for c in cells) > 0.5 for i in images])


def test_the_false_cell_that_is_rejected_raises_precision_to_one_and_leaves_the_others_as_they_are(field):
    movie, masks = field
    seeds = [masks["whole"], *masks["others"], masks["vessel"]]
    plain, curated = extract(seeds), extract(seeds)
    values, _ = run(plain, movie)
    decided, _ = run(curated, movie, [(200, "reject", (6,))])
    assert precision(plain, masks["cells"]) == pytest.approx(6 / 7)
    assert precision(curated, masks["cells"]) == 1.0
    assert 6 in plain.read(["quality_now"])["quality_now"][:, 0]
    assert 6 in curated.read(["quality_now"])["quality_now"][:, 0]  # its fluorescence is still its own
    assert len(curated.read(["contours"])["contours"]) == len(plain.read(["contours"])["contours"]) - 1
    before, after = (of_ids(live, range(7)) for live in (values, decided))
    np.testing.assert_array_equal(after[:, :6], before[:, :6])
    np.testing.assert_array_equal(after[:200, 6], before[:200, 6])
    assert before[200:, 6].any()
    assert not after[200:, 6].any()


def test_halves_of_a_cell_that_are_merged_give_the_trace_of_the_whole(field):
    movie, masks = field
    _, whole = run(extract([masks["whole"], *masks["others"]]), movie)
    operator = extract([*masks["halves"], *masks["others"]])
    live, merged = run(operator, movie, [(250, "merge", (0, 1))])
    assert together(merged[0], whole[0], 250) > 0.99
    assert together(merged[0], whole[0], 155) > 0.99  # frames in the window that are not settled are estimated anew
    table = next(values["merged"] for values in live if len(values["merged"]["id"]))
    assert (table["frame"][0], table["id"][0], table["into"][0]) == (249, 1, 0)
    assert 1 not in operator.read(["quality_now"])["quality_now"][:, 0]
    assert 1 not in np.concatenate([values["ids"] for values in live if len(values["traces"])][-3:])


def test_a_merge_that_is_undone_leaves_the_parts_as_they_would_be_without_it(field):
    movie, masks = field
    seeds = [*masks["halves"], *masks["others"]]
    never, undone = extract(seeds), extract(seeds)
    _, expected = run(never, movie)
    live, found = run(undone, movie, [(200, "merge", (0, 1)), (300, "undo", ())])
    for part in (0, 1):
        assert together(found[part], expected[part], 300) > 0.98
        assert np.isfinite(
            found[part][205:]
        ).all()  # that of part 1 goes on from the window, all of which was before it
    np.testing.assert_array_equal(np.sort(live[-2]["ids"])[:2], [0, 1])
    again, cells = (o.read(["quality_now"])["quality_now"] for o in (undone, never))
    assert {0, 1, 2, 3, 4, 5, 6} <= set(again[:, 0]) & set(cells[:, 0])
    rows = np.concatenate([values["decisions"]["decision"] for values in live])
    assert rows.tolist() == ["merged into 0", ""]


def test_an_accepted_candidate_is_accepted_whatever_its_quality_until_that_is_undone(field):
    movie, _ = field
    operator = extract([], min_snr=60.0)
    ids = lambda start, stop: operator.update(Block(start, np.arange(stop - start), movie[start:stop])).values["ids"]  # noqa: E731
    ids(0, 200)
    quality = operator.read(["quality_now"])["quality_now"]
    assert len(quality)
    assert not quality[:, 2].any()
    first = int(quality[0, 0])
    operator.decide(Decision(200, "extract", "accept", (first,))).make()
    assert [ids(start, start + 20).tolist() for start in range(200, 300, 20)] == [[first]] * 5
    assert operator.read(["quality_now"])["quality_now"][0, DECISION] == 1
    operator.decide(Decision(300, "extract", "undo")).make()
    assert not len(ids(300, 320))


def test_that_a_part_is_accepted_by_hand_goes_over_to_the_whole_and_back(field):
    movie, masks = field
    operator = extract([*masks["halves"], *masks["others"]])
    decisions = [(120, "accept", (1,)), (121, "merge", (0, 1)), (122, "undo", ())]
    live, _ = run(operator, movie, decisions[:2], stop=122)
    rows = [
        tuple(row) for values in live for row in zip(*(values["decisions"][n] for n in ("id", "decision")), strict=True)
    ]
    assert rows == [(1, "accepted"), (0, "accepted"), (1, "merged into 0")]
    again = extract([*masks["halves"], *masks["others"]])
    live, _ = run(again, movie, decisions, stop=125)
    rows = [
        tuple(row) for values in live for row in zip(*(values["decisions"][n] for n in ("id", "decision")), strict=True)
    ]
    assert sorted(rows[3:]) == [(0, ""), (1, "accepted")]


REFUSED = [
    ("reject", (99,), 0, "no component 99; the newest is"),
    ("merge", (0,), 0, "merge which ones? name two ids or more"),
    ("merge", (0, 4), 0, "the footprints of 0 and 4 do not touch"),
    ("reject", (7,), 0, "component 7 is rejected by hand already"),
    ("merge", (6, 7), 0, "component 7 is rejected; accept it, or undo that, before it is merged"),
    ("accept", (1,), 0, "component 1 is gone: it was merged into 0 by decision 2"),
    ("undo", (), 9, "no decision 9"),
    ("undo", (), 2, "decision 3 (accept 0) came after decision 2 (merge 0 1); undo that first"),
    ("undo", (), 5, "an undo is not undone"),
    ("undo", (), 4, "decision 4 (reject 5) stands no more"),
]  # fmt: skip


def test_what_cannot_be_decided_is_said_in_one_line(field):
    movie, masks = field
    operator = extract([*masks["halves"], *masks["others"], masks["vessel"]])
    with pytest.raises(ConfigError, match="no component 0; none is known yet"):
        operator.decide(Decision(0, "extract", "reject", (0,)))
    run(operator, movie, [(120, "reject", (7,)), (120, "merge", (1, 0)), (121, "accept", (0,))], stop=125)
    for verb, ids in (("reject", (5,)), ("undo", ())):
        operator.decide(Decision(125, "extract", verb, ids)).make()
    for verb, ids, undo_of, reason in REFUSED:
        with pytest.raises(ConfigError) as told:
            operator.decide(Decision(125, "extract", verb, ids, undo_of=undo_of))
        assert reason in str(told.value)
        assert "\n" not in str(told.value)
    undo = operator.decide(Decision(125, "extract", "undo", undo_of=1))  # later ones are about other components
    undo.make()
    assert (undo.said, undo.decision.undo_of) == ("decision 6: undo 1 (reject 7)", 1)


def test_the_laws_of_decisions_see_each_verb_taken_and_taken_back():
    params = operators()["extract"].examples[0]
    subject = Subject(lambda spec: create("extract", spec, **params), Spec((13, 17), "uint16", interval_s=0.02))
    assert [decided_run(subject, verb, (32,))[1] for verb in ("accept", "reject", "merge")] == [3, 3, 3]


@pytest.mark.parametrize(("name", "value"), [("curation_verb", 9), ("curation_verdict", 7), ("merged_number", 1)])
def test_decisions_of_a_damaged_state_are_refused(field, name, value):
    movie, masks = field
    operator = extract([*masks["halves"], *masks["others"]])
    run(operator, movie, [(110, "reject", (5,)), (110, "merge", (0, 1))], stop=112)
    state = operator.state()
    state[name] = np.full_like(state[name], value)
    with pytest.raises(StateError, match="the state was damaged"):
        extract([*masks["halves"], *masks["others"]]).restore(state)


CONFIG = """
[record]
raw = true
[[step]]
kind = "extract"
params = { neuron_sigma_px = 3.0, init_frames = 60, init_delay_frames = 20, min_snr = 1.5 }
"""


def test_a_session_says_what_was_decided_and_a_rerun_gives_the_same_bits(tmp_path):
    decisions = [
        Decision(230, "extract", "reject", (0, 1), "anna", "vessel", 1),
        Decision(240, "extract", "accept", (1,), "ben", "", 2),
        Decision(250, "extract", "reject", (2,), "ben", "", 3),
        Decision(260, "extract", "undo", (), "anna", "", 4, 3),
    ]
    with open_source(f"sim:calcium?shape=64x64&frames=300&seed={SEED}&neuron_sigma_px=3") as source:
        first = session_of(source, tmp_path / "S", changes=decisions)
    cells = first.components()
    told = {i: (what, by, bool(kept)) for i, what, by, kept in columns(cells)}
    assert told[0] == ("rejected", "anna", False)
    assert told[1] == ("accepted", "ben", True)
    assert told[2] == ("", "", True)
    assert set(told.values()) - {told[0], told[1]} <= {("", "", True), ("", "", False)}
    cells.restore(0)
    assert {i: what for i, what, _, _ in columns(first.components())}[0] == "accepted"
    with open_source(str(tmp_path / "S")) as source:
        again = session_of(source, tmp_path / "T")
    for name, values in first.values("extract").items():
        for column, array in values.items() if hasattr(values, "items") else [(name, values)]:
            other = again.values("extract")[name]
            np.testing.assert_array_equal(other[column] if hasattr(other, "items") else other, array)
    for name, array in first.snapshot("extract").items():
        np.testing.assert_array_equal(again.snapshot("extract")[name], array)
    assert again.values("extract")["decisions"]["by"].tolist() == ["anna", "anna", "ben", "ben", "anna"]


def columns(cells):
    return zip(cells.ids.tolist(), cells.decision.tolist(), cells.decided_by.tolist(), cells.accepted, strict=True)


def session_of(source, folder, **options):
    engine = Engine(source, parse_config(CONFIG), folder, **options)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    session = open_session(folder)
    assert not [event for event in session.events if event["event"] in ("muted", "noted")]
    return session


def test_a_component_that_people_merged_stands_in_the_session_with_what_it_gave_until_then(field, tmp_path):
    movie, masks = field
    np.save(tmp_path / "movie.npy", movie)
    np.save(tmp_path / "seeds.npy", np.array([*masks["halves"], *masks["others"]]))
    config = CONFIG.replace("min_snr = 1.5", f'init = "seeded", seeds = "{tmp_path}/seeds.npy"')
    with open_source(str(tmp_path / "movie.npy")) as source:
        engine = Engine(
            source, parse_config(config), tmp_path / "S", changes=[Decision(200, "extract", "merge", (0, 1))]
        )
        engine.start()
        assert engine.wait(60)
    cells = open_session(tmp_path / "S").components()
    [row] = np.flatnonzero(cells.ids == 1)
    assert cells.decision[row] == "merged into 0"
    assert not cells.accepted[row]
    assert cells.footprints.shape[1] == len(cells) == len(cells.traces)
    assert not cells.footprints[:, [row]].nnz
    assert cells.traces[row, 90:200].any()
    assert not cells.traces[row, 200:].any()


def test_a_trigger_follows_a_component_that_people_merge(field, tmp_path):
    movie, masks = field
    np.save(tmp_path / "seeds.npy", np.array([*masks["halves"], *masks["others"]]))
    text = CONFIG.replace("min_snr = 1.5", f'init = "seeded", seeds = "{tmp_path}/seeds.npy"')
    text += '[[step]]\nkind = "trigger"\nparams = { when = "extract.traces[1] > 5 σ" }'
    told = []
    for cut in (1, 32):
        chain = Chain(parse_config(text), Spec(SHAPE, "uint16", interval_s=1 / 30))
        chain.changes.plan_recorded(Decision(150, "extract", "merge", (0, 1), "anna", "", 1), told=True)
        for start in range(0, 200, cut):
            frames = movie[start : min(start + cut, 200)]
            chain.push(Block(start, np.arange(start, start + len(frames)) * 33_333_333, frames))
        told.append([event for event in chain.events if event["step"] == "trigger"])
    assert told[0] == told[1]
    assert [event["said"] for event in told[0]] == ["extract.traces[1]: 1 is merged into 0, which is followed"]
