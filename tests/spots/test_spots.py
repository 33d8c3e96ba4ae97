"""`spots` against the likelihood's equations in plain numpy, and against the truth of simulated recordings."""

import csv

import numpy as np
import pytest
from scipy import ndimage as ndi
from scipy.special import erf
from scipy.stats import poisson

from streamfluo import Block, Camera, Chain, ConfigError, Spec, create, integrate_crops, open_session, open_source
from streamfluo.analysis import find_spots
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.simulate import spots as simulate
from streamfluo.spots.kernels.thresholds import gaussian_weights, squares_along

CAMERA = Camera(offset_adu=100, gain_e_per_adu=0.5, read_noise_e=1.5, qe=1.0)
HOLE = slice(12, 17)


def light(shape, y, x, sigma=1.3):
    def along(centre, n):
        d = np.arange(n) - centre
        return (erf((d + 0.5) / sigma / 2**0.5) - erf((d - 0.5) / sigma / 2**0.5)) / 2

    return np.outer(along(y, shape[0]), along(x, shape[1]))


def movie(places, photons, frames=30, shape=(40, 50), background=5.0, seed=1):
    """Frames in ADU of CAMERA: photons (n,) or (t, n) at places (n, 2)."""
    rng = np.random.default_rng(seed)
    photons = np.broadcast_to(photons, (frames, len(places)))
    expected = photons @ np.array([light(shape, y, x).ravel() for y, x in places]) + background
    electrons = rng.poisson(expected) + 1.5 * rng.standard_normal(expected.shape)
    return np.rint(100 + electrons / 0.5).astype(np.uint16).reshape(frames, *shape)


def run(frames, camera=CAMERA, hole=None, inputs=None, **params):
    """All values of a movie, in blocks of 7, without the frames of a hole."""
    operator = create("spots", Spec(frames.shape[1:], frames.dtype, camera=camera), **params)
    there = [t for t in range(len(frames)) if hole is None or not hole.start <= t < hole.stop]
    parts = []
    for run in np.split(there, 1 + np.flatnonzero(np.diff(there) > 1)):
        for start in range(run[0], run[-1] + 1, 7):
            stop = min(start + 7, run[-1] + 1)
            given = {} if inputs is None else {"shift_px": inputs[start:stop]}
            parts.append(operator.update(Block(start, np.arange(start, stop), frames[start:stop]), given).values)
    values = {"spots": {name: np.concatenate([p["spots"][name] for p in parts]) for name in parts[0]["spots"]}}
    for name in parts[0].keys() - {"spots", "ids"}:
        width = max(np.ndim(p[name]) and (p[name].shape[1] if p[name].ndim > 1 else 0) for p in parts)
        values[name] = np.concatenate(
            [np.pad(p[name], ((0, 0), (0, width - p[name].shape[1]))) if width else p[name] for p in parts]
        )
    return operator, values


def solved(crop, y, x):
    """N, its error, b and χ² of a crop in electrons by iterated weighted least squares, in plain numpy."""
    p = light(crop.shape, y, x).ravel()
    design, d, read2 = np.stack([p, np.ones_like(p)], 1), crop.ravel(), 1.5**2 + 0.25 / 12
    found = np.linalg.lstsq(design, d, rcond=None)[0]
    for _ in range(50):
        weights = 1 / (read2 + design @ np.maximum(found, [0, 1e-2]))
        found = np.linalg.solve(design.T * weights @ design, design.T * weights @ d)
    covariance = np.linalg.inv(design.T * weights @ design)
    chi2 = ((d - design @ found) ** 2 / (read2 + design @ found)).sum() / (len(d) - 2)
    return found[0], np.sqrt(covariance[0, 0]), found[1], chi2


def test_photons_at_known_places_solve_the_likelihoods_equations_also_after_a_hole():
    places = np.array([[10.2, 11.7], [11.4, 35.1], [29.8, 20.3]])
    frames = movie(places, [300.0, 1000.0, 4000.0])
    _, values = run(frames, hole=HOLE, spots=places)
    table, there = values["spots"], np.delete(np.arange(30), HOLE)
    assert values["photons"].shape == (25, 3)
    np.testing.assert_array_equal(table["frame"], np.repeat(there, 3))
    for row, (t, k) in enumerate((t, k) for t in there for k in range(3)):
        top, left = np.rint(places[k]).astype(int) - 5
        crop = 0.5 * (frames[t, top : top + 11, left : left + 11] - 100.0)
        expected = solved(crop, places[k, 0] - top, places[k, 1] - left)
        found = [table[name][row] for name in ("photons", "error", "background", "chi2")]
        np.testing.assert_allclose(found, expected, rtol=3e-4)
    np.testing.assert_array_equal(values["photons"].ravel(), table["photons"])


@pytest.mark.parametrize(("background", "read"), [(0.5, 0.0), (5.0, 1.5)])
def test_noise_makes_as_many_spots_as_stated(background, read):
    rng, counts = np.random.default_rng(1), []
    camera = Camera(offset_adu=100, gain_e_per_adu=0.5, read_noise_e=read)
    operator = create("spots", Spec((256, 256), "uint16", camera=camera), false_alarms=4.0, fit=None)
    for t in range(60):
        electrons = rng.poisson(background, (256, 256)) + read * rng.standard_normal((256, 256))
        frame = np.rint(100 + electrons / 0.5).astype(np.uint16)
        counts.append(operator.update(Block(t, [0], frame[None])).values["count"][0])
    assert np.mean(counts) == pytest.approx(4.0, abs=4 * np.sqrt(4 / 60))


@pytest.mark.parametrize("length", [3, 9, 10, 11, 60])
def test_the_filters_noise_is_known_up_to_the_border(length):
    weights = gaussian_weights(1.3)
    answers = ndi.convolve1d(np.eye(length), np.concatenate([weights[:0:-1], weights]), axis=0, mode="nearest")
    np.testing.assert_allclose(squares_along(weights, length), (answers**2).sum(1), rtol=1e-6)


def test_without_a_camera_the_noise_is_measured():
    rng = np.random.default_rng(2)
    image = 500 + 20 * rng.standard_normal((512, 512))
    image[:, 256:] += 60 * rng.standard_normal((512, 256))
    assert 2 <= len(find_spots(image, false_alarms=10.0).y) <= 25
    image[100:140] = np.nan
    assert len(find_spots(image, false_alarms=10.0).y) <= 25


def test_detected_spots_are_where_they_are_with_their_photons_and_errors():
    frames, truth = simulate(frames=40, shape=(128, 128), spots=20, spot_photons=1500, motion="random", seed=4)
    camera = Camera(**{name: float(truth[name]) for name in ("offset_adu", "gain_e_per_adu", "read_noise_e")})
    _, values = run(frames, camera)
    table, seen, rows, true_rows = values["spots"], 0, [], []
    for t in range(40):
        mine, there = np.flatnonzero(table["frame"] == t), np.flatnonzero(truth["frame"] == t)
        dy = table["y_px"][mine, None] - truth["y_px"][there]
        dx = table["x_px"][mine, None] - truth["x_px"][there]
        distance = np.hypot(dy, dx)
        alone = np.hypot(
            truth["y_px"][there, None] - truth["y_px"][there], truth["x_px"][there, None] - truth["x_px"][there]
        )
        np.fill_diagonal(alone, 99)
        inner = (truth["y_px"][there] > 6) & (truth["y_px"][there] < 121)
        inner &= (truth["x_px"][there] > 6) & (truth["x_px"][there] < 121) & (alone.min(1) > 12)
        for n in np.flatnonzero(inner):
            seen += 1
            if distance[:, n].min() < 1:
                rows.append(mine[distance[:, n].argmin()])
                true_rows.append(there[n])
    assert len(rows) > 0.995 * seen > 100
    for name, error, true in (("y_px", "y_error_px", "y_px"), ("photons", "error", "photons_spot")):
        pull = (table[name][rows] - truth[true][true_rows]) / table[error][rows]
        assert pull.std() == pytest.approx(1, abs=0.15)
        assert abs(pull.mean()) < 0.2
    assert np.median(table["chi2"][rows]) == pytest.approx(1, abs=0.05)


def test_neighbours_are_measured_together():
    places = np.array([[20.0, 20.0], [20.3, 24.1]])  # 3.2 widths apart
    known = [run(movie(places, [1000.0, 3000.0], frames=150, seed=seed), spots=places)[1] for seed in range(1, 5)]
    pull = np.concatenate([(values["photons"] - [1000, 3000]) / values["photons_error"] for values in known])
    np.testing.assert_allclose(pull.mean(0), 0, atol=4 / np.sqrt(len(pull)))  # four standard errors
    np.testing.assert_allclose(pull.std(0), 1, atol=4 / np.sqrt(2 * len(pull)))
    assert all((values["spots"]["flags"] & 4).all() for values in known)


def test_neighbours_further_apart_are_found_both():
    places, photons = np.array([[20.0, 20.0], [20.3, 25.8]]), [1000.0, 3000.0]  # 4.5 widths apart
    movies = (movie(places, photons, 300, (32, 40), seed=seed) for seed in range(1, 9))
    tables = [run(frames, false_alarms=0.01)[1]["spots"] for frames in movies]
    table = {name: np.concatenate([t[name] for t in tables]) for name in ("y_px", "x_px", "photons", "error")}
    distance = np.hypot(*(np.stack([table["y_px"], table["x_px"]])[..., None] - places.T[:, None]))
    faint, bright = (distance < 1).T
    assert bright.sum() == 2400
    assert 0.999 * 2400 <= faint.sum() <= 2400  # now and then it is a shoulder without a maximum of its own
    assert (~faint & ~bright).sum() <= poisson.ppf(0.999, 0.01 * 2400)  # as many false alarms as stated
    for rows, true in ((faint, 1000), (bright, 3000)):
        error = np.sqrt(np.pi / 2) * np.median(table["error"][rows]) / np.sqrt(rows.sum())  # of a median
        assert abs(np.median(table["photons"][rows]) - true) < 4 * error


def test_a_neighbour_that_is_not_found_flags_the_spot_beside_it():
    places, photons = np.array([[20.0, 20.0], [20.3, 25.8]]), [1000.0, 3000.0]
    for seed, frame in ((4, 241), (11, 239), (12, 189)):  # where the faint one is a shoulder without a maximum
        frames = movie(places, photons, 300, (32, 40), seed=seed)[frame : frame + 1]
        for camera in (CAMERA, None):
            table = run(frames, camera, false_alarms=0.01)[1]["spots"]
            assert len(table["flags"]) == 1
            assert table["flags"][0] & 64
    for camera in (CAMERA, None):
        alone = run(movie(places[:1], [3000.0], 200, (32, 40), seed=7), camera, false_alarms=0.01)[1]["spots"]
        assert not (alone["flags"] & 64).any()


def test_known_spots_move_with_the_drift():
    shifts = np.linspace(0, 6, 30)[:, None] * [0.5, -1.0]
    places = np.array([[15.0, 25.0]])
    frames = np.concatenate([movie(places + shift, [2000.0], frames=1, seed=t) for t, shift in enumerate(shifts)])
    _, values = run(frames, spots=places, drift=True, inputs=shifts)
    assert values["photons"].mean() == pytest.approx(2000, rel=0.01)
    np.testing.assert_allclose(values["spots"]["x_px"], 25 + shifts[:, 1])
    _, still = run(frames, spots=places)
    assert still["photons"][-1, 0] < 300


def test_spots_at_the_border_saturated_or_gone_are_flagged_while_others_go_on():
    places = np.array([[20.0, 25.0], [1.0, 30.0], [20.0, 8.0], [-3.0, 40.0]])
    frames = movie(places[:3], [2000.0, 2000.0, 2000.0])
    frames[:, 20, 8] = 65535
    _, values = run(frames, spots=places)
    flags = values["spots"]["flags"].reshape(30, 4)
    assert [set(column) for column in flags.T.tolist()] == [{0}, {1}, {2}, {16}]
    assert np.isnan(values["photons"][:, 3]).all()
    assert values["photons"][:, :2].mean(0) == pytest.approx(2000, rel=0.02)


def test_spots_too_faint_for_a_frame_are_found_on_the_mean_and_kept():
    rng = np.random.default_rng(3)
    places = np.array([[10.0, 12.0], [25.5, 30.2], [30.0, 10.6]])
    photons = np.where(rng.random((200, 3)) < 0.5, [120.0, 150.0, 1500.0], 0)
    frames = movie(places, photons, frames=200)
    operator, values = run(frames, detect="mean", mean_frames=64, false_alarms=0.05)
    table = values["spots"]
    last = {k: np.flatnonzero(table["spot"] == k)[-1] for k in np.unique(table["spot"])}
    found = np.array([[table["y_px"][row], table["x_px"][row]] for row in last.values()])
    assert len(found) == 3
    order = [int(np.hypot(*(found - place).T).argmin()) for place in places]
    np.testing.assert_allclose(found[order], places, atol=0.3)
    trace = values["photons"][150:, order]
    assert np.corrcoef(trace[:, 2], photons[150:, 2])[0, 1] > 0.99
    assert np.abs((trace - photons[150:]).mean(0)).max() < 15
    assert operator.read()["looked_at"].shape == (40, 50)
    assert operator.read()["photons_histogram"].sum() == len(table["spot"])


@pytest.mark.slow
def test_all_looks_at_means_together_make_as_many_false_spots_as_stated():
    counts = []
    for seed in range(12):
        noise = movie([[9.0, 9.0]], [0.0], frames=420, seed=seed)
        operator, _ = run(noise, detect="mean", mean_frames=32, false_alarms=2.0)
        counts.append(operator.state()["places"].shape[0])
    assert operator.state()["looks"] == 6 + 12  # after 1, 2, 4, 8, 16, 32 frames and then every 32
    assert np.mean(counts) == pytest.approx(2.0, abs=3 * np.sqrt(2 / 12))


def test_where_the_width_of_a_faint_spot_runs_away_the_usual_one_is_kept():
    frames = movie([[20.0, 25.0]], [0.0], frames=200, background=50.0)
    _, values = run(frames, false_alarms=2.0)
    table = values["spots"]
    kept = (table["flags"] & 32) > 0
    assert 0 < kept.sum() < 0.3 * len(kept)
    assert (table["sigma_px"][kept] == 1.3).all()
    assert (table["flags"] & 8 == 0).mean() > 0.95


def test_maps_of_an_scmos_camera_are_used():
    rng, shape = np.random.default_rng(5), (40, 50)
    camera = Camera(
        offset_adu=100 + 5 * rng.standard_normal(shape), gain_e_per_adu=0.5 * rng.uniform(0.8, 1.2, shape),
        read_noise_e=np.where(rng.random(shape) < 0.02, 20.0, 1.5), qe=0.8,
    )  # fmt: skip
    places = np.array([[20.0, 15.0], [20.0, 35.0]])
    expected = 0.8 * (800 * sum(light(shape, y, x) for y, x in places) + 5.0)
    electrons = rng.poisson(expected, (500, *shape)) + camera.read_noise_e * rng.standard_normal((500, *shape))
    frames = np.rint(camera.offset_adu + electrons / camera.gain_e_per_adu).clip(0).astype(np.uint16)
    _, values = run(frames, camera, spots=places)
    pull = (values["photons"] - 800) / values["photons_error"]
    np.testing.assert_allclose(pull.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(pull.std(0), 1, atol=0.1)
    _, plain = run(frames, Camera(offset_adu=100, gain_e_per_adu=0.5, read_noise_e=1.5, qe=0.8), spots=places)
    assert values["photons"].std() < plain["photons"].std()
    assert values["spots"]["chi2"].mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("method", ["ml", "weighted", "border"])
@pytest.mark.parametrize("model", ["isogauss", "gauss", "spline"])
def test_known_places_are_integrated_as_the_batch_function_does(model, method, tmp_path):
    places = np.array([[20.2, 14.9, 30.0], [19.6, 35.3, -80.0]])
    frames = movie(places[:, :2], [1500.0, 700.0], frames=5)
    knots = np.r_[[-900.0] * 3, np.linspace(-900, 900, 35), [900.0] * 3], np.r_[[-400.0] * 3, -400, 400, [400.0] * 3]
    grid = np.convolve(knots[0], np.ones(3) / 3, "valid")[1:-1]  # Greville abscissae: where each coefficient sits
    disc = np.exp(-(grid[:, None] ** 2 + grid**2) / 2 / 130**2)
    spline = {"coefficients": np.stack([disc] * 4), "tz": knots[1], "ty": knots[0], "tx": knots[0]}
    np.savez(tmp_path / "psf.npz", **spline)
    stated = {"gauss": {"sigma_px": (1.5, 1.2), "theta_deg": 25.0}, "spline": {"spline": str(tmp_path / "psf.npz")}}
    stated = stated.get(model, {})
    spec = Spec(frames.shape[1:], "uint16", pixel_um=0.1, camera=CAMERA)
    operator = create("spots", spec, spots=places, model=model, method=method, **stated)
    table = operator.update(Block(0, np.arange(5), frames)).values["spots"]
    corner = np.rint(places[:, :2]).astype(int) - 5
    crops = np.array([frames[t, y : y + 11, x : x + 11] for t in range(5) for y, x in corner])
    sigma_y, sigma_x = stated.get("sigma_px", (1.3, 1.3))
    ring = np.ones((11, 11), bool)
    ring[1:-1, 1:-1] = False
    expected = integrate_crops(
        crops, y0=np.tile(corner[:, 0], 5), x0=np.tile(corner[:, 1], 5), y_nm=np.tile(places[:, 0], 5) * 100,
        x_nm=np.tile(places[:, 1], 5) * 100, z_nm=np.tile(places[:, 2], 5), sigma_y_nm=100 * sigma_y,
        sigma_x_nm=100 * sigma_x, theta_deg=stated.get("theta_deg", 0), model=model, method=method, offset_adu=100,
        gain_e_per_adu=0.5, read_noise_e=1.5, spline=spline if model == "spline" else None,
        background=None if method == "ml" else 0.5 * (np.median(crops[:, ring], 1) - 100),
    )  # fmt: skip
    for name, column in zip(("photons", "error", "background", "chi2"), expected, strict=True):
        np.testing.assert_allclose(table[name], column, rtol=1e-6)


def test_the_drift_that_motion_finds_moves_spots_on_the_raw_frames():
    rng, shape = np.random.default_rng(8), (96, 96)
    beads = rng.uniform(8, 88, (25, 2))
    shifts = np.cumsum(rng.normal(0, 0.15, (120, 2)), 0)
    frames = np.concatenate([movie(beads + s, 3000.0, 1, shape, seed=t) for t, s in enumerate(shifts)])
    config = f"""
[[step]]
kind = "motion"
params = {{ max_shift_px = 6 }}
[[step]]
kind = "spots"
after = "source"
params = {{ spots = {(beads + shifts[0]).tolist()}, drift = true }}
"""
    chain = Chain(parse_config(config), Spec(shape, "uint16", camera=CAMERA))
    photons = np.concatenate(
        [
            dict(chain.push(Block(t, np.arange(t, t + 20), frames[t : t + 20])))["spots"].values["photons"]
            for t in range(0, 120, 20)
        ]
    )
    assert np.abs(shifts[-1] - shifts[0]).max() > 0.5
    assert np.nanmedian(photons[-20:]) == pytest.approx(3000, rel=0.02)


BAD = {
    "an even crop": ({"crop_px": 10}, "crop_px must be odd"),
    "a psf larger than the crop": ({"sigma_px": 9.0}, "sigma_px must be"),
    "a psf without width": ({"sigma_px": 0.0}, "sigma_px must be"),
    "two widths of one": ({"sigma_px": (1.0, 2.0)}, "two widths"),
    "NaN where a place is needed": ({"spots": [[3.0, np.nan]]}, "spot 0 is not a number"),
    "no spot in the field": ({"spots": [[3.0, 4.0], [3.0, 4000.0]]}, "spot 1 at .* lies outside"),
    "no spots": ({"spots": np.empty((0, 2))}, "found 0"),
    "words": ({"spots": [["a", "b"]]}, "spots must be an array"),
    "no such file": ({"spots": "nowhere.npy"}, "cannot be read"),
    "stated and detected": ({"spots": [[3.0, 4.0]], "detect": "mean"}, "either"),
    "drift of what is detected": ({"drift": True}, "drift needs spots"),
    "a spline that has to be fitted": ({"model": "spline"}, "known positions"),
    "a spline without a pixel": ({"model": "spline", "spots": [[3.0, 4.0]]}, "pixel size"),
    "a rotation that has to be fitted": ({"model": "gauss", "theta_deg": 30.0}, "theta_deg"),
    "no camera there": ({"camera": "nowhere.npz"}, "camera"),
    "no alarms at all": ({"false_alarms": 0.0}, "false_alarms"),
    "misspelt": ({"sigma": 1.0}, "did you mean"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_in_one_line(case):
    changes, said = BAD[case]
    with pytest.raises(ConfigError, match=said) as caught:
        create("spots", Spec((40, 50), "uint16"), **changes)
    assert "\n" not in str(caught.value)


def test_a_spline_without_coefficients_is_refused():
    with pytest.raises(ConfigError, match="needs spline"):
        create("spots", Spec((40, 50), "uint16", pixel_um=0.1), model="spline", spots=[[3.0, 4.0]])


def test_light_is_in_adu_where_the_camera_is_unknown():
    operator, values = run(movie([[20.0, 20.0]], [3000.0]), camera=None, spots=[[20.0, 20.0]])
    assert {g.unit for g in operator.gives if g.name.startswith("photons") and g.name != "photons_histogram"} == {"ADU"}
    assert values["photons"].mean() == pytest.approx(6000, rel=0.02)
    assert np.isnan(values["spots"]["chi2"]).all()


CONFIG = """
[[step]]
kind = "spots"
params = { detect = "mean", mean_frames = 32, false_alarms = 0.1 }
"""
SOURCE = "sim:spots?shape=128x128&frames=100&spots=20&spot_photons=800&seed=5&pixel_um=0.1"


def test_places_come_from_a_session_a_csv_or_an_npy(tmp_path):
    with open_source(SOURCE) as source:
        engine = Engine(source, parse_config(CONFIG), tmp_path / "S")
        engine.start()
        engine.wait()
    assert engine.error is None
    session = open_session(tmp_path / "S")
    found = session.values("spots")
    assert found["photons"].shape == (100, 20)
    operator = create("spots", session.spec, spots=tmp_path / "S")
    places = operator._known.places[:, :2]
    order = np.argsort(places[:, 0])
    truth = session.truth["position_px"]
    np.testing.assert_allclose(places[order], truth[np.argsort(truth[:, 0])], atol=0.15)
    np.save(tmp_path / "places.npy", places)
    with (tmp_path / "places.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "x [nm]", "y [nm]"])
        writer.writerows([[1, (x + 0.5) * 100, (y + 0.5) * 100] for y, x in places])
    for path in ("places.npy", "places.csv"):
        again = create("spots", session.spec, spots=tmp_path / path)
        np.testing.assert_allclose(again._known.places[:, :2], places, atol=1e-9)
