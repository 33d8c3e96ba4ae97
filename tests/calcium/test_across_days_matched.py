"""Components of two runs on the same frames are matched by their footprints, each once."""

from types import SimpleNamespace

import numpy as np
import pytest

from streamfluo.calcium.across_days.matched import matched_components
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.core.errors import SessionError

SHAPE = (40, 60)


def step(places, ids, accepted=None):
    """A recorded step with Gaussian footprints of σ = 2 px at places (n, yx)."""
    quality = np.zeros((len(ids), len(MEASURES)))
    names = list(MEASURES)
    quality[:, names.index("id")], quality[:, names.index("accepted")] = ids, 1 if accepted is None else accepted
    box = np.exp(-(np.add.outer((np.arange(13) - 6) ** 2, (np.arange(13) - 6) ** 2)) / 8)
    quality[:, names.index("top_px")] = [y - 6 for y, _ in places]
    quality[:, names.index("left_px")] = [x - 6 for _, x in places]
    quality[:, names.index("whole")] = -1
    snapshot = {"quality_now": quality, "footprints": np.stack([box] * len(ids)).astype(np.float32),
                "background": np.ones(SHAPE)}  # fmt: skip
    sees = SimpleNamespace(shape=SHAPE, pixel_um=None, origin_px=(0.0, 0.0))
    return SimpleNamespace(id="extract", folder=SimpleNamespace(__truediv__=None), snapshot=snapshot, sees=sees,
                           values={}, index=np.arange(0),
                           times_s=lambda index: np.zeros(len(index)))  # fmt: skip


@pytest.fixture
def steps(tmp_path):
    def make(*given):
        made = step(*given)
        made.folder = tmp_path
        return made

    return make


def test_cells_that_lie_on_each_other_are_one_whatever_their_ids(steps):
    a = steps([(10, 10), (20, 30), (30, 50)], [1, 2, 3])
    b = steps([(31, 50), (10, 11), (8, 40)], [7, 8, 9])
    found = matched_components(a, b, True)
    assert found.counts == (3, 3)
    assert sorted(map(tuple, found.ids.tolist())) == [(1, 8), (3, 7)]
    np.testing.assert_allclose(found.alike, np.exp(-1 / 16), atol=0.01)  # of two Gaussians of σ = 2, 1 px apart


def test_a_cell_is_matched_once_with_the_nearer_one(steps):
    found = matched_components(steps([(10, 10)], [1]), steps([(10, 12), (10, 10)], [5, 6]), True)
    assert found.ids.tolist() == [[1, 6]]


def test_rejected_components_are_left_out(steps):
    a = steps([(10, 10), (20, 30)], [1, 2], [1, 0])
    found = matched_components(a, steps([(10, 10), (20, 30)], [1, 2]), True)
    assert (found.counts, found.ids.tolist()) == ((1, 2), [[1, 1]])


def test_a_step_without_cells_is_one_line(steps):
    with pytest.raises(SessionError, match="no accepted component"):
        matched_components(steps([(10, 10)], [1], [0]), steps([(10, 10)], [1]), True)
