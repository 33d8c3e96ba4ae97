"""Regions against the textbook over the whole movie: means, neuropil, percentile, ratio."""

import numpy as np
import pytest

from streamfluo import Block, Camera, Chain, ConfigError, Spec, create
from streamfluo.engine.config import parse_config
from streamfluo.pixels.region_masks import region_masks

SHAPE, FRAMES, INTERVAL_S = (40, 50), 900, 0.05
SPEC = Spec(SHAPE, "uint16", interval_s=INTERVAL_S, camera=Camera(offset_adu=100.0))


def scene(seed=1):
    """Two cells in neuropil: frames, masks, and the ΔF/F of each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    masks = np.array([(y - cy) ** 2 + (x - cx) ** 2 <= 16 for cy, cx in ((12, 14), (26, 34))])
    t = np.arange(FRAMES)
    neuropil = 400 * (1 + 0.5 * np.sin(t / 60.0))
    dff = np.zeros((FRAMES, 2))
    for n, starts in enumerate(((150, 400, 700), (300, 620))):
        for start in starts:
            dff[start:, n] += 1.5 * np.exp(-(t[start:] - start) / 12)
    own = 400 * (1 + dff)
    light = neuropil[:, None, None] * np.ones(SHAPE) + np.einsum("tn,nyx->tyx", own, masks)
    frames = np.where(masks.any(0), light - 0.3 * neuropil[:, None, None], light)  # 0.7 of it under a cell
    return rng.poisson(frames).astype(np.uint16) + np.uint16(100), masks, dff


def outputs(movie, masks, spec=SPEC, cut=7, **params):
    operator = create("regions", spec, regions=masks, **params)
    times = (np.arange(len(movie)) * INTERVAL_S * 1e9).astype(np.int64)
    blocks = [Block(n, times[n : n + cut], movie[n : n + cut]) for n in range(0, len(movie), cut)]
    values = [operator.update(block).values for block in blocks]
    return {name: np.concatenate([v[name] for v in values]) for name in ("mean", "neuropil", "dff")}


def oracle(movie, masks, factor=0.7, gap=2, width=8, percentile=8, window_s=30.0, coarse=64):
    """The same by loops over frames and pixels that share nothing with the operator."""
    ys, xs = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rings = []
    for mask in masks:
        cells = np.argwhere(mask)
        nearest = np.min([(ys - cy) ** 2 + (xs - cx) ** 2 for cy, cx in cells], 0) ** 0.5
        rings.append((nearest > gap) & (nearest <= gap + width) & ~masks.any(0))
    mean = np.array([[frame[mask].mean() for mask in masks] for frame in movie])
    around = np.array([[frame[ring].mean() for ring in rings] for frame in movie])
    light = (mean - 100) - factor * (around - 100)
    stretch = round(window_s / INTERVAL_S / coarse)
    dff = np.full(light.shape, np.nan)
    for t in range(len(movie)):
        whole = (t + 1) // stretch
        bins = [light[k * stretch : (k + 1) * stretch].mean(0) for k in range(max(0, whole - coarse), whole)]
        if len(bins) > 1:
            f0 = np.percentile(bins, percentile, axis=0)
            dff[t] = (light[t] - f0) / f0
    return mean, around, dff


def test_means_neuropil_and_ratio_are_those_of_the_textbook():
    movie, masks, _ = scene()
    found = outputs(movie, masks)
    mean, around, dff = oracle(movie, masks)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(found["neuropil"], around, rtol=1e-6)
    np.testing.assert_allclose(found["dff"], dff, rtol=2e-4, atol=2e-5)


def test_the_ratio_is_that_of_the_cells():
    for seed in (11, 12, 13):
        movie, masks, truth = scene(seed)
        dff = outputs(movie, masks)["dff"][200:]
        error = dff - truth[200:]
        assert np.abs(np.median(error)) < 0.05  # F0 is a low percentile: .03 above
        assert np.sqrt(np.mean(error**2)) < 0.1
        blind = outputs(movie, masks, neuropil_factor=0.0)["dff"][200:]
        assert np.sqrt(np.mean((blind - truth[200:]) ** 2)) > 2 * np.sqrt(np.mean(error**2))


def test_light_at_rest_that_is_none_has_no_ratio():
    rng = np.random.default_rng(3)
    dark = rng.poisson(4, (300, *SHAPE)).astype(np.uint16) + np.uint16(96)
    assert np.isnan(outputs(dark, scene()[1])["dff"]).all()


def test_polygons_labels_and_masks_are_the_same_regions():
    square = [[2, 3], [2, 8], [7, 8], [7, 3]]
    masks = region_masks([square], (10, 12))
    assert masks.sum() == 25
    assert masks[0, 2:7, 3:8].all()
    labels = np.zeros((10, 12), int)
    labels[2:7, 3:8] = 4
    np.testing.assert_array_equal(region_masks(labels, (10, 12)), masks)
    np.testing.assert_array_equal(region_masks(masks.astype(float) * 7, (10, 12)), masks)


def test_a_config_draws_them_and_a_trigger_takes_them():
    text = """
    [[step]]
    kind = "regions"
    params = { regions = [[[8, 8], [8, 20], [18, 20], [18, 8]], [[22, 30], [22, 40], [31, 40], [31, 30]]] }
    [[step]]
    kind = "trigger"
    params = { when = "regions.dff[0] > .5 for 2 frames" }
    """
    movie, _, _ = scene()
    chain = Chain(parse_config(text, "c.toml"), SPEC)
    fired = []
    for n in range(0, FRAMES, 30):
        outputs = dict(chain.push(Block(n, (np.arange(n, n + 30) * 50_000_000), movie[n : n + 30])))
        fired += (n + np.flatnonzero(outputs["trigger"].values["fired"])).tolist()
    assert fired == [151, 401, 701]


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        ([[[1, 1], [2, 2]]], "region 0 is a list of three corners [y, x] or more, found [[1, 1], [2, 2]]"),
        ([[[50, 60], [50, 70], [60, 70]]], "region 0 has no pixel in frames of (40, 50)"),
        ([], "none given"),
        (np.zeros((3, 4)), "masks (n, y, x) or a labelled image (y, x) of (40, 50), found (3, 4)"),
        (np.ones((1, 40, 50)), "around region 0 every pixel belongs to another"),
        ("masks", "masks: no .npy file 'masks'"),
        (np.random.default_rng(0).poisson(900, (40, 50)), "this is no labelled image"),
        (np.random.default_rng(0).normal(900, 9, (40, 50)), "is it a picture?"),
        (np.array([["a"]]), "masks are finite numbers, found <U1"),
    ],
)
def test_regions_that_cannot_be_are_refused_in_one_line(regions, says):
    with pytest.raises(ConfigError) as error:
        create("regions", SPEC, regions=regions)
    assert says in str(error.value)


def test_without_an_interval_it_asks():
    with pytest.raises(ConfigError, match="set interval_s"):
        create("regions", SPEC.with_(interval_s=None), regions=scene()[1])
