"""Cells of a volume: sections of one cell are joined by shape and activity, what merely lies above is not."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse

from streamfluo import SessionError, open_session
from streamfluo.calcium.extracted_components import MEASURES, ExtractedComponents
from streamfluo.calcium.volume.volume_cells import VolumeCells

SHAPE, FRAMES, BOX = (40, 50), 600, 21


def disc(radius):
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    return (np.hypot(y, x) <= radius).astype(np.float32)


def course(seed):
    rng = np.random.default_rng(seed)
    spikes = rng.random(FRAMES) < 0.03
    return np.convolve(spikes, np.exp(-np.arange(60) / 15))[:FRAMES]


def slice_of(cells, noise=0.05, accepted=True):
    """The components of a slice: (y, x, radius, activity's seed) of each."""
    measures = {name: np.zeros(len(cells)) for name in MEASURES}
    measures |= {
        "id": np.arange(len(cells)) + 10,
        "accepted": np.full(len(cells), accepted),
        "snr": np.full(len(cells), 5.0),
    }
    measures |= {
        "top_px": np.array([y - BOX // 2 for y, *_ in cells]),
        "left_px": np.array([x - BOX // 2 for _, x, *_ in cells]),
    }
    rng = np.random.default_rng(len(cells))
    traces = np.array([course(seed) for *_, seed in cells]).T + noise * rng.standard_normal((FRAMES, len(cells)))
    values = {"ids": measures["id"], "traces": traces, "raw": traces, "spikes": traces, "dff": traces}
    snapshot = {
        "quality_now": np.stack([measures[name] for name in MEASURES], 1),
        "footprints": np.stack([disc(radius) for *_, radius, _ in cells]),
    }
    return ExtractedComponents(values, snapshot, SHAPE, np.arange(FRAMES))


def joined(*slices):
    return VolumeCells({f"green/{z}": part for z, part in enumerate(slices)})


def groups(cells):
    """The cells as sets of (plane, id)."""
    table = cells.same_as
    found = {}
    for cell, plane, name in zip(table["cell"], table["plane"], table["id"], strict=True):
        found.setdefault(int(cell), set()).add((int(plane), int(name)))
    return sorted(map(sorted, found.values()))


def test_sections_of_a_sphere_are_one_cell_through_all_its_slices():
    cells = joined(slice_of([(15, 15, 4, 1)]), slice_of([(15, 16, 6, 1)]), slice_of([(15, 15, 3, 1)]))
    assert len(cells) == 1
    assert groups(cells) == [[(0, 10), (1, 10), (2, 10)]]
    volume = cells.footprint(int(cells.ids[0]))
    assert volume.shape == (3, *SHAPE)
    assert [int((image > 0).sum()) for image in volume] == [int(disc(r).sum()) for r in (4, 6, 3)]
    assert np.corrcoef(cells.traces[0], course(1))[0, 1] > 0.95


def test_a_cell_of_its_own_above_another_is_not_joined():
    cells = joined(slice_of([(15, 15, 5, 1)]), slice_of([(15, 15, 5, 2)]))
    assert len(cells) == 2
    assert np.isnan(cells.same_as["overlap"]).all()


def test_a_cell_that_is_active_at_the_same_time_elsewhere_is_not_joined():
    assert len(joined(slice_of([(12, 12, 5, 1)]), slice_of([(25, 35, 5, 1)]))) == 2


def test_each_component_is_in_one_pair_the_surest():
    cells = joined(slice_of([(15, 15, 6, 1)]), slice_of([(15, 15, 6, 1), (17, 15, 6, 1)]))
    assert groups(cells) == [[(0, 10), (1, 10)], [(1, 11)]]


def test_a_slice_between_without_the_cell_makes_two_of_it():
    cells = joined(slice_of([(15, 15, 5, 1)]), slice_of([(30, 30, 4, 3)]), slice_of([(15, 15, 5, 1)]))
    assert len(cells) == 3


def test_rejected_components_are_no_cells():
    assert len(joined(slice_of([(15, 15, 5, 1)]), slice_of([(15, 15, 5, 1)], accepted=False))) == 1


def test_slices_of_another_shape_are_refused():
    other = ExtractedComponents(
        {"ids": np.empty(0, int)}, {"quality_now": np.empty((0, len(MEASURES))), "footprints": np.empty((0, 3, 3))},
        (9, 9), np.arange(FRAMES),
    )  # fmt: skip
    with pytest.raises(SessionError, match="slices of one volume have one shape, found green/0"):
        joined(slice_of([(15, 15, 5, 1)]), other)


def test_a_volume_without_cells_has_none():
    empty = ExtractedComponents(
        {"ids": np.empty(0, int)}, {"quality_now": np.empty((0, len(MEASURES))), "footprints": np.empty((0, 3, 3))},
        SHAPE, np.arange(FRAMES),
    )  # fmt: skip
    cells = joined(empty, empty)
    assert len(cells) == 0
    assert cells.traces.shape[0] == 0


CHAIN = """
[[step]]
kind = "extract"
planes = ["green"]
params = { init_frames = 150 }
"""
SIM = "sim:calcium?channels=2&z=3&z_step_um=8&shape=96x96&frames=700&motion_px=0&seed="


def matched(plane, truth_of):
    """Accepted components that are a cell of the truth, id → the cell."""
    part, cells = plane.components(), truth_of["cell"]
    shape = tuple(truth_of["A_shape"])
    true = scipy.sparse.csc_matrix((truth_of["A_data"], truth_of["A_indices"], truth_of["A_indptr"]), shape=shape)
    unit = [
        m @ scipy.sparse.diags(1 / np.maximum(scipy.sparse.linalg.norm(m, axis=0), 1e-9))
        for m in (part.footprints, true)
    ]
    overlaps = (unit[0].T @ unit[1]).toarray()
    overlaps[~part.accepted] = 0
    found = {}
    while overlaps.size and overlaps.max() > 0.5:
        i, k = np.unravel_index(overlaps.argmax(), overlaps.shape)
        found[int(part.ids[i])] = int(cells[k])
        overlaps[i], overlaps[:, k] = 0, 0
    return found, len(cells), int(part.accepted.sum())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cells_of_a_simulated_volume_are_found_and_joined_right(tmp_path):
    from commands import command

    right = wrong = missed = hits = there = accepted = 0
    for seed in (31, 32):
        (tmp_path / "c.toml").write_text(CHAIN)
        done = command("run", "c.toml", "--source", f"{SIM}{seed}", "--out", f"S{seed}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        session = open_session(tmp_path / f"S{seed}")
        names = [name for name in session.planes if name.startswith("green")]
        found = {}
        for n, name in enumerate(names):
            known, count, kept = matched(session.plane(name), session.plane(name).truth)
            found |= {(n, i): cell for i, cell in known.items()}
            hits, there, accepted = hits + len(known), there + count, accepted + kept
        true = {(a, b) for a, c in found.items() for b, d in found.items() if c == d and b[0] == a[0] + 1}
        table, pairs = session.cells().same_as, set()
        rows = sorted(zip(table["cell"].tolist(), table["plane"].tolist(), table["id"].tolist(), strict=True))
        for (cell, *a), (other, *b) in pairwise(rows):
            if cell == other and tuple(a) in found and tuple(b) in found:
                pairs.add((tuple(a), tuple(b)))
        right, wrong, missed = right + len(pairs & true), wrong + len(pairs - true), missed + len(true - pairs)
    print(f"F1 {2 * hits / (there + accepted):.3f}; joined right {right}, wrong {wrong}, missed {missed}")
    assert right > 15
    assert right >= 0.95 * (right + wrong + missed)
    assert 2 * hits / (there + accepted) > 0.85
