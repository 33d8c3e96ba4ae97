"""The rendered picture against its formula: a Gaussian integrated over each pixel, for each localisation by itself."""

import numpy as np
import pytest
from scipy.special import erf

from streamfluo import Block, ConfigError, FrameError, Spec, Table, create

SPEC = Spec((24, 31), "uint16", pixel_um=0.1)
SEED = 771_204


def table_of(count, frame=0, **columns):
    rng = np.random.default_rng(SEED + frame)
    y, x = rng.uniform((-0.4, -0.4), (23.4, 30.4), (count, 2)).T
    errors = rng.uniform(0.05, 0.4, (2, count))
    own = {"y_px": y, "x_px": x, "y_error_px": errors[0], "x_error_px": errors[1], "flags": np.zeros(count, int)}
    return Table({"frame": np.full(count, frame), **own, "sigma_px": np.full(count, 1.3), **columns})


def fed(operator, *tables):
    for n, table in enumerate(tables):
        operator.update(Block(n, np.zeros(1, np.int64), np.zeros((1, *SPEC.shape), np.uint16)), {"spots": table})
    return operator


def oracle(table, zoom, precision_px=0.2):
    """The picture of all rows, in float64: no tables of sums, no reach."""
    edges = [np.arange(side * zoom + 1) / zoom - 0.5 for side in SPEC.shape]
    picture = 0.0
    for y, x, *errors in zip(*(table[n] for n in ("y_px", "x_px", "y_error_px", "x_error_px")), strict=True):
        known = [precision_px if np.isnan(error) else error for error in errors]
        sigma = [max(error, 0.5 / zoom) for error in known]
        shares = [
            np.diff(erf((edge - at) / (s * np.sqrt(2)))) / 2 for edge, at, s in zip(edges, (y, x), sigma, strict=True)
        ]
        picture = picture + np.outer(*shares)
    return picture


@pytest.mark.parametrize("zoom", [1, 3, 8])
def test_each_localisation_is_a_gaussian_of_its_own_precision(zoom):
    tables = [table_of(20, frame) for frame in range(5)]
    picture = fed(create("render", SPEC, zoom=zoom), *tables).read(["rendered"])["rendered"]
    expected = sum(oracle(table, zoom) for table in tables)
    assert picture.shape == (24 * zoom, 31 * zoom)
    np.testing.assert_allclose(picture, expected, atol=100 * 0.5 / (1 << 16) + 7e-5)  # rounding of each, and beyond 4 σ


def test_a_pixel_in_nm_is_the_nearest_whole_part_of_the_cameras():
    operator = create("render", SPEC, pixel_nm=24.0)
    assert operator.read(["picture_pixel"])["picture_pixel"] == 25.0
    assert operator.read(["rendered"])["rendered"].shape == (96, 124)


@pytest.mark.parametrize(("shape", "zoom"), [((256, 200), 8), ((512, 512), 4), ((1024, 600), 2), ((1200, 1300), 1)])
def test_at_first_it_is_as_fine_as_2048_pixels_allow(shape, zoom):
    assert create("render", Spec(shape, "uint16")).read(["picture_pixel"])["picture_pixel"] == 1 / zoom


def test_localisations_without_a_precision_have_the_one_that_is_stated():
    unknown = np.full(6, np.nan)
    table = table_of(6, y_error_px=unknown, x_error_px=unknown)
    found = fed(create("render", SPEC, zoom=4, precision_px=0.3), table).read()
    np.testing.assert_allclose(found["rendered"], oracle(table, 4, 0.3), atol=2e-4)
    assert found["precision_histogram"].sum() == 0
    assert found["width_histogram"].sum() == found["localisations"] == 6


def test_faults_and_what_is_too_uncertain_is_left_out_and_counted():
    table = table_of(4, flags=np.array([0, 8, 4, 0]), x_error_px=np.array([0.1, 0.1, 0.1, 1.5]))
    found = fed(create("render", SPEC), table, table_of(2, 1, y_px=np.array([np.nan, 40.0]))).read()
    assert (found["localisations"], found["left_out"]) == (2, 4)
    drawn = {name: column[[0, 2]] for name, column in table.items()}
    np.testing.assert_allclose(found["rendered"], oracle(drawn, 8), atol=2e-4)
    assert found["overlapping"] == pytest.approx(1 / 6)
    assert found["spots_per_frame"] == 3


def test_what_was_dense_long_ago_is_no_longer_told():
    operator = create("render", SPEC)
    fed(operator, table_of(3, flags=np.full(3, 4)))
    empty = Table({"frame": np.full(1, 900), "y_px": np.full(1, 3.0), "x_px": np.full(1, 3.0)})
    operator.update(Block(900, np.zeros(1, np.int64), np.zeros((1, *SPEC.shape), np.uint16)), {"spots": empty})
    assert operator.read(["overlapping"])["overlapping"] == 0


def test_no_spots_leave_an_empty_picture():
    found = fed(create("render", SPEC), table_of(0)).read()
    assert not found["rendered"].any()
    assert np.isnan(found["overlapping"])


def test_5000_spots_of_a_frame_are_drawn():
    assert fed(create("render", SPEC), table_of(5000)).read(["localisations"])["localisations"] == 5000


@pytest.mark.parametrize(("shape", "params"), [((20_000, 20_000), {}), ((2500, 2500), {"zoom": 8})])
def test_a_picture_too_large_to_keep_is_refused(shape, params):
    with pytest.raises(ConfigError, match=r"render: a picture of 20000 × 20000 pixels is more than the 16,777,216"):
        create("render", Spec(shape, "uint16"), **params)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match="pixel_nm and zoom say the same thing"):
        create("render", SPEC, pixel_nm=10.0, zoom=8)
    with pytest.raises(ConfigError, match="pixel_nm needs the camera's pixel size"):
        create("render", Spec((8, 8), "uint16"), pixel_nm=10.0)
    with pytest.raises(FrameError, match="needs a table with y_px and x_px"):
        create("render", SPEC).update(Block(0, np.zeros(1, np.int64), np.zeros((1, *SPEC.shape), np.uint16)))
