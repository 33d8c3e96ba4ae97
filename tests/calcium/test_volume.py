"""Cells of a volume while frames come: against the textbook, and what they do where the model does not hold."""

import numpy as np
import pytest

from streamfluo import Block, ConfigError, Plane, Spec, create
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.calcium.volume.membership import gone_into, joined, named
from streamfluo.calcium.volume.operator import EVERY_FRAMES

SHAPE, FRAMES, BOX, NOISE = (60, 60), 1200, 9, 1.0
SPEC = Spec(SHAPE, "uint16", interval_s=0.1, pixel_um=1.0)


def planes(count=3, step_um=5.0, **changes):
    return [Plane("green", z, None if step_um is None else z * step_um, pixel_um=1.0, **changes) for z in range(count)]


def course(seed, frames=FRAMES, rate=0.05, decay=6.0):
    """Calcium of a cell: jumps at random frames that decay."""
    rng = np.random.default_rng(seed)
    return np.convolve(rng.poisson(rate, frames) * 4.0, np.exp(-np.arange(60) / decay))[:frames]


class Movie:
    """What `extract` gives in each slice: sections (plane, y, x) with a trace each, of ids by order in the plane."""

    def __init__(self, sections, traces, noise=NOISE, seed=0, others=24):
        rng = np.random.default_rng(seed)
        far = [(n % 3, 4 + 10 * (n // 3 % 6), 44 if n < 18 else 54) for n in range(others)]  # cells of their own
        self.plane, self.y, self.x = np.array([*sections, *far]).T
        order = np.argsort(self.plane, kind="stable")
        signals = np.array([*traces, *(course(500 + n, len(traces[0])) for n in range(others))])
        self.noise = np.append(np.broadcast_to(noise, len(sections)), np.full(others, NOISE))[order]
        self.plane, self.y, self.x, self.signals = self.plane[order], self.y[order], self.x[order], signals[order]
        self.raw = self.signals.T + self.noise * rng.standard_normal((signals.shape[1], len(signals)))
        self.place = np.argsort(order)  # of the sections in the order in which they were given
        self.ids = np.concatenate([np.arange((self.plane == z).sum()) for z in np.unique(self.plane)]) + 10
        self.accepted = np.ones(len(self.ids))

    def snapshots(self):
        quality = np.zeros((len(self.ids), len(MEASURES)))
        columns = {
            "id": self.ids, "accepted": self.accepted, "noise": self.noise,
            "top_px": self.y - BOX // 2, "left_px": self.x - BOX // 2,
        }  # fmt: skip
        for name, column in columns.items():
            quality[:, list(MEASURES).index(name)] = column
        y, x = np.mgrid[:BOX, :BOX] - BOX // 2
        boxes = np.repeat((np.hypot(y, x) <= 4)[None].astype(np.float32), len(self.ids), 0)
        contours = np.zeros((int(self.accepted.sum()), 4, 2), np.float32)
        return {
            "quality_now": quality, "quality_now.planes": self.plane, "footprints": boxes,
            "footprints.planes": self.plane, "contours": contours, "contours.planes": self.plane[self.accepted > 0],
        }  # fmt: skip

    def inputs(self, start, stop, delay=0.0):
        found = {}
        for name in ("raw", "traces", "spikes", "dff"):
            found |= {name: self.raw[start:stop], f"{name}.planes": self.plane, f"{name}.ids": self.ids}
        late = (np.arange(self.plane.max() + 1) * delay * 1e8).astype(np.int64)
        found["raw.times_ns"] = np.arange(start, stop)[None] * 10**8 + late[:, None]
        return found | (self.snapshots() if start % EVERY_FRAMES == 0 else {})


def run(movie, of=None, delay=0.0, **params):
    """The operator after a movie, and what it gave, end to end: raw by cell, table rows."""
    operator = create("volume", SPEC, **params)
    operator.meet_planes(of or planes())
    raw, merged = [], []
    for start in range(0, len(movie.raw), EVERY_FRAMES):
        block = Block(start, np.arange(start, start + EVERY_FRAMES), np.zeros((EVERY_FRAMES, *SHAPE), np.uint16))
        values = operator.update(block, movie.inputs(start, start + EVERY_FRAMES, delay)).values
        raw.append(dict(zip(values["ids"].tolist(), values["raw"].T, strict=True)))
        merged += list(zip(*(values["merged"][name].tolist() for name in ("frame", "id", "into")), strict=True))
    return operator, raw, merged


def cells(operator, movie, count):
    """The cell of each of the first sections, in the order in which they were given."""
    table = operator.read()["sections_now"][:, :3].astype(int).tolist()
    of = {(z, name): cell for cell, z, name in table}
    return [of[int(movie.plane[n]), int(movie.ids[n])] for n in movie.place[:count]]


STACK = [(0, 20, 20), (1, 20, 20), (2, 21, 20)]


def test_three_sections_that_carry_one_signal_are_one_cell_and_its_trace_is_the_weighted_least_squares_one():
    signal, gains, noise = course(1), np.array([1.0, 0.7, 0.4]), np.array([1.0, 1.5, 0.6])
    movie = Movie(STACK, gains[:, None] * signal, noise)
    operator, raw, _ = run(movie)
    (cell, *others) = cells(operator, movie, 3)
    assert others == [cell, cell]
    # The textbook: c that minimises Σ (x_n - g_n c)² / ν_n², in units of the first section; gains from the second
    # moments of the whole movie less the noise, as the operator knows them but for its forgetting.
    x = movie.raw[:, movie.place[:3]]
    g = np.sqrt(x.var(0) - noise**2)
    design, weight = g[:, None], np.diag(1 / noise**2)
    expected = np.linalg.solve(design.T @ weight @ design, design.T @ weight @ x.T).ravel() * g[0]
    late = np.concatenate([part[cell] for part in raw[12:]])
    assert np.corrcoef(late, expected[600:])[0, 1] > 0.9999
    assert np.std(late - expected[600:]) < 0.02 * np.std(expected)
    assert np.corrcoef(late, signal[600:])[0, 1] > max(np.corrcoef(x[600:, n], signal[600:])[0, 1] for n in range(3))


def test_evidence_of_a_pair_is_that_of_the_whole_movie_with_a_hole_in_it():
    movie = Movie(STACK[:2], [course(1), 0.8 * course(1)])
    movie.raw[300:340, movie.place[0]] = np.nan
    operator, _, _ = run(movie, memory_frames=10**9)
    moments, found = operator._joining.moments, operator._joining.evidence()
    rows = operator._joining.sections.rows(movie.plane[movie.place[:2]], movie.ids[movie.place[:2]])
    n = moments.pairs.tolist().index(sorted(rows.tolist()))
    x = movie.raw[:, movie.place[:2]]
    x = x[np.isfinite(x).all(1)]
    covariance = np.cov(x.T, bias=True)
    expected = covariance[0, 1] / np.sqrt((covariance[0, 0] - NOISE**2) * (covariance[1, 1] - NOISE**2))
    assert found.frames[n] == pytest.approx(len(x), rel=1e-5)
    assert found.shared[n] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("bleed", [0.0, 0.3, 0.5])
def test_a_cell_of_its_own_above_another_one_is_not_joined_though_its_light_bleeds_in(bleed):
    movie = Movie(STACK[:2], [course(1), course(2) + bleed * course(1)])
    operator, _, merged = run(movie)
    assert len(set(cells(operator, movie, 2))) == 2
    assert merged == []


def test_what_all_cells_share_joins_nothing():
    rng = np.random.default_rng(3)
    neuropil = np.convolve(rng.standard_normal(FRAMES + 9), np.ones(10) / np.sqrt(10), "valid") * 1.5
    movie = Movie(STACK, [course(n) + neuropil for n in range(3)])
    movie.raw += np.where(np.isin(np.arange(len(movie.ids)), movie.place[:3]), 0, 1) * neuropil[:, None]
    operator, _, merged = run(movie)
    assert len(set(cells(operator, movie, 3))) == 3
    assert merged == []


def test_one_cell_in_a_sea_of_what_all_share_is_still_joined():
    rng = np.random.default_rng(3)
    neuropil = np.convolve(rng.standard_normal(FRAMES + 9), np.ones(10) / np.sqrt(10), "valid") * 0.5
    movie = Movie(STACK, [course(1)] * 3)
    movie.raw += neuropil[:, None]
    operator, _, _ = run(movie)
    assert len(set(cells(operator, movie, 3))) == 1


def test_the_smaller_id_stays_when_cells_are_joined_and_the_table_says_which_went_into_which():
    movie = Movie(STACK[:2], [course(1)] * 2)
    operator, raw, merged = run(movie)
    kept = cells(operator, movie, 2)[0]
    ((frame, gone, into),) = merged
    assert into == kept < gone
    assert (frame + 1) % EVERY_FRAMES == 0
    at = (frame + 1) // EVERY_FRAMES
    assert gone in raw[at - 1]
    assert all(gone not in part and kept in part for part in raw[at:])


def test_a_cell_parts_where_the_evidence_falls_and_the_first_section_keeps_its_id():
    first = course(1, 3000)
    second = np.where(np.arange(3000) < 1000, first, course(2, 3000))
    movie = Movie(STACK[:2], [first, second])
    operator, raw, merged = run(movie, memory_frames=300)
    one, other = cells(operator, movie, 2)
    assert one != other
    assert merged[0][2] == one
    assert one in raw[-1]
    assert other in raw[-1]
    assert other != merged[0][1]  # an id is never given twice


def test_a_pair_of_two_candidates_takes_the_one_that_fits_better():
    movie = Movie([(0, 20, 20), (1, 20, 20), (1, 20, 23)], [course(1), course(1), 0.6 * course(1) + 0.3 * course(4)])
    operator, _, _ = run(movie)
    one, other, third = cells(operator, movie, 3)
    assert one == other != third


def test_slices_taken_in_turn_do_not_part_a_cell_of_fast_transients():
    fine = course(5, 2 * FRAMES, rate=0.03, decay=5.0)  # decays within 2.5 frames; half a frame later is .8 of it
    movie = Movie(STACK[:2], [fine[::2], fine[1::2]])
    known, _, _ = run(movie, delay=0.5)
    told_nothing, _, _ = run(movie)
    evidence = [operator._joining.evidence().shared[0] for operator in (known, told_nothing)]
    assert evidence[0] > evidence[1] + 0.05
    assert evidence[0] == pytest.approx(1, abs=0.12)
    assert len(set(cells(known, movie, 2))) == 1
    assert known.read()["cells_now"][0][8] == pytest.approx(0.25, abs=0.05)  # the mean time of both, in frames


def test_slices_further_apart_than_a_cell_are_not_joined_and_it_says_so():
    movie = Movie(STACK, [course(1)] * 3)
    operator, _, merged = run(movie, planes(step_um=20.0))
    assert merged == []
    assert operator.doubt().startswith("slices are 20 µm apart, a cell is ")
    assert "none are joined" in operator.doubt()


def test_a_cell_is_as_high_as_one_says():
    movie = Movie(STACK, [course(1)] * 3)
    operator, _, _ = run(movie, planes(step_um=20.0), cell_um=25.0)
    one, other, third = cells(operator, movie, 3)
    assert one == other != third  # 40 µm are more than one and a half cells
    assert operator.doubt() == ""


def test_slices_of_unknown_depth_are_compared_with_their_neighbours_alone_and_it_says_so():
    movie = Movie([(0, 20, 20), (2, 20, 20)], [course(1)] * 2)
    operator, _, merged = run(movie, planes(step_um=None))
    assert merged == []
    assert "the depth of the slices is not known" in operator.doubt()
    assert np.isnan(operator.read()["cells_now"][:, 5]).all()
    stated, _, merged = run(movie, planes(step_um=None), z_step_um=3.0)
    assert len(merged) == 1
    assert stated.doubt() == ""
    assert stated.read()["cells_now"][0, 5] == pytest.approx(3.0)


def test_slices_of_pixels_of_different_size_are_refused():
    operator = create("volume", SPEC)
    with pytest.raises(ConfigError, match=r"pixels of one size, found green/0 1.0 µm, green/1 2.0 µm"):
        operator.meet_planes([Plane("green", 0, pixel_um=1.0), Plane("green", 1, pixel_um=2.0)])


def test_one_slice_alone_has_a_cell_for_each_component_and_it_says_so():
    movie = Movie([(0, 20, 20), (0, 20, 24)], [course(1)] * 2, others=0)
    operator, _, merged = run(movie, planes(1))
    assert merged == []
    assert len(operator.read()["cells_now"]) == 2
    assert operator.doubt() == "there is one slice alone: no cell is on several, each component is one"


def test_a_component_that_is_rejected_leaves_its_cell_and_comes_back_to_it():
    movie = Movie(STACK, [course(1)] * 3)
    whole = movie.inputs

    def inputs(start, stop, delay):
        movie.accepted[movie.place[0]] = not 600 <= start < 800
        return whole(start, stop, delay)

    movie.inputs = inputs
    operator, raw, _ = run(movie)
    assert len(set(cells(operator, movie, 3))) == 1
    cell = cells(operator, movie, 3)[0]
    assert all(cell in part for part in raw[10:])


def test_a_slice_that_lost_a_frame_leaves_the_cell_to_the_others():
    movie = Movie(STACK, [course(1), 2 * course(1), course(1)])
    movie.raw[1000:1010, movie.plane == 0] = np.nan
    operator, raw, _ = run(movie)
    cell = cells(operator, movie, 3)[0]
    during = raw[20][cell][:10]
    assert np.isfinite(during).all()
    assert np.corrcoef(during, course(1)[1000:1010])[0, 1] > 0.5 or np.std(course(1)[1000:1010]) < NOISE
    assert np.mean(during) == pytest.approx(np.mean(course(1)[1000:1010]), abs=1.0)  # in the unit of the first section


def test_groups_have_a_section_in_each_slice_at_most_the_surest_pairs_first():
    plane, all_may = np.array([0, 1, 1, 2]), np.ones((3, 3), bool)
    pairs = np.array([[0, 1], [0, 2], [2, 3]])
    found = joined(4, plane, pairs, np.array([0.5, 0.9, 0.7]), all_may)
    assert [group.tolist() for group in found] == [[0, 2, 3], [1]]
    neighbours = np.abs(np.subtract.outer(range(3), range(3))) < 2
    found = joined(4, plane, pairs, np.array([0.5, 0.9, 0.7]), neighbours)
    assert [group.tolist() for group in found] == [[0, 2], [1], [3]]


def test_ids_stay_and_are_never_given_twice():
    before = np.array([1, 1, 1, 4])
    cell, following = named([np.array([0]), np.array([1, 2]), np.array([3])], before, 7)
    assert cell.tolist() == [7, 1, 1, 4]
    assert following == 8
    cell, following = named([np.array([0, 1, 2, 3])], np.array([7, 3, 3, 4]), 8)
    assert cell.tolist() == [3] * 4
    assert gone_into(np.array([7, 3, 3, 4]), cell) == [(4, 3), (7, 3)]


def test_a_cell_is_not_present_where_none_of_its_sections_is_known():
    movie = Movie([(0, 20, 20)], [course(1)])
    movie.raw[60:70, movie.place[0]] = np.nan
    operator = create("volume", SPEC)
    operator.meet_planes(planes())
    for start in (0, EVERY_FRAMES):
        block = Block(start, np.arange(start, start + EVERY_FRAMES), np.zeros((EVERY_FRAMES, *SHAPE), np.uint16))
        values = operator.update(block, movie.inputs(start, start + EVERY_FRAMES)).values
    (cell,) = cells(operator, movie, 1)
    column = values["ids"].tolist().index(cell)
    assert np.flatnonzero(~values["present"][:, column]).tolist() == list(range(10, 20))
    assert not values["raw"][10:20, column].any()
    assert np.delete(values["present"], column, 1).all()
