"""`spots`, `integrate_crops` and `fit_spots`: what they cost, how near the Cramér–Rao bound they come, what they find.

python tools/bench_spots.py               cost in time of one core, against one rfft2 of a 512×512 frame
python tools/bench_spots.py --photons     bias, RMSE over Cramér–Rao, calibration; 60,000 spots a case
python tools/bench_spots.py --fits        the same of fits of place, width, photons and background
python tools/bench_spots.py --detection   false alarms, recall, precision and RMSE over density and brightness
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.fft import rfft2
from scipy.interpolate import BSpline, make_interp_spline
from scipy.spatial import cKDTree
from scipy.special import erf

from streamfluo import Block, Camera, Spec, create, integrate_crops
from streamfluo.analysis import fit_spots
from streamfluo.simulate import spots as simulate

SPOTS, ROUNDS = 60_000, 9
READ_E, GAIN, QE = 1.2, 0.5, 0.9
CAMERA = Camera(offset_adu=0, gain_e_per_adu=GAIN, read_noise_e=READ_E, qe=QE)
BANDS = ((200, 600), (600, 2000), (2000, 5000))
PEER_US = {10_000: "9 to 12", 10: "53"}


def along(n: int, centre: np.ndarray, sigma: np.ndarray | float) -> np.ndarray:
    """The light of Gaussians in pixels of a row (k, n)."""
    edges = (np.arange(n + 1) - 0.5 - np.reshape(centre, (-1, 1))) / (np.reshape(sigma, (-1, 1)) * 2**0.5)
    return np.diff(erf(edges), axis=1) / 2


def gaussian(n: int, y: np.ndarray, x: np.ndarray, sigma: float = 1.2) -> np.ndarray:
    """Isotropic Gaussians (k, n, n), integrated over pixels."""
    return along(n, y, sigma)[:, :, None] * along(n, x, sigma)[:, None, :]


def turned(n: int, y: np.ndarray, x: np.ndarray, theta_deg: float = 30.0, fine: int = 9) -> np.ndarray:
    """Gaussians of 1.7 × 1 px turned by theta, over square pixels by 9 × 9 points in each."""
    points = (np.arange(n * fine) + 0.5) / fine - 0.5
    turn, out = np.deg2rad(theta_deg), np.empty((len(y), n, n))
    for k in range(len(y)):
        dy, dx = points[:, None] - y[k], points[None] - x[k]
        xr, yr = dx * np.cos(turn) - dy * np.sin(turn), dx * np.sin(turn) + dy * np.cos(turn)
        g = np.exp(-(xr**2) / 2 - yr**2 / (2 * 1.7**2)) / (2 * np.pi * 1.7)
        out[k] = g.reshape(n, fine, n, fine).sum((1, 3)) / fine**2
    return out


def draw(light: np.ndarray, background: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Crops in ADU of spots with these shapes, and their photons."""
    photons = np.exp(rng.uniform(np.log(200), np.log(5000), len(light)))
    electrons = rng.poisson(QE * (photons[:, None, None] * light + background))
    noisy = electrons + READ_E * rng.standard_normal(light.shape)
    return np.rint(noisy / GAIN).astype(np.float32), photons


def astigmatic_spline() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (z, y, x) and knots tz, ty, tx [nm] of a Gaussian that is wide along y on one side of the focus."""
    z, r = np.linspace(-500, 500, 21), np.linspace(-1600, 1600, 65)
    volume = np.empty((len(z), len(r), len(r)))
    for k, height in enumerate(z):
        sigma_y, sigma_x = (130 * np.sqrt(1 + ((height - s) / 400) ** 2) for s in (200, -200))
        profiles = [np.exp(-((r / sigma) ** 2) / 2) / sigma for sigma in (sigma_y, sigma_x)]
        volume[k] = np.outer(*profiles)
    knots = []
    for axis, grid in enumerate((z, r, r)):
        spline = make_interp_spline(grid, volume, 3, axis=axis)
        volume = np.moveaxis(spline.c, 0, axis)
        knots.append(spline.t)
    return volume, *knots


def spline_light(spline: tuple[np.ndarray, ...], n: int, y: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The spline's images (k, n, n) in pixels of 100 nm, of all its light, by scipy."""
    coefficients, tz, ty, tx = spline
    out, pixels = np.empty((len(y), n, n)), np.arange(-12, n + 12)

    def rows(at: np.ndarray, knots: np.ndarray) -> np.ndarray:
        inside = (at >= knots[0]) & (at <= knots[-1])
        basis = np.zeros((len(at), len(knots) - 4))
        basis[inside] = BSpline.design_matrix(at[inside], knots, 3).toarray()
        return basis

    deep = rows(-z, tz)
    for k in range(len(y)):
        plane = np.tensordot(deep[k], coefficients, 1)
        whole = rows((pixels - y[k]) * 100, ty) @ plane @ rows((pixels - x[k]) * 100, tx).T
        out[k] = whole[12 : n + 12, 12 : n + 12] / whole.sum()
    return out


def photons() -> None:
    """`method = "ml"` with known positions, background fitted or given, against truth and bound."""
    print(f"{'case':34} bias % beyond its error in 3 bands (± 1 se)         RMSE/CRB          pull sd  χ²")
    for name, n, background, shape in (
        ("isogauss, background 0.5", 11, 0.5, gaussian), ("isogauss, background 5", 11, 5.0, gaussian),
        ("isogauss, background 50", 11, 50.0, gaussian), ("isogauss 7 × 7, background 5", 7, 5.0, gaussian),
        ("gauss 1.7 × 1 px at 30°", 11, 5.0, turned), ("spline 13 × 13", 13, 5.0, None),
    ):  # fmt: skip
        rng = np.random.default_rng(5)
        y, x = (n - 1) / 2 + rng.uniform(-0.5, 0.5, (2, SPOTS))
        known = {"y_nm": 100 * y, "x_nm": 100 * x, "sigma_x_nm": 120.0}
        if shape is gaussian:
            light = gaussian(n, y, x)
        elif shape is turned:
            light = turned(n, y, x)
            known |= {"model": "gauss", "sigma_x_nm": 100.0, "sigma_y_nm": 170.0, "theta_deg": 30.0}
        else:
            spline, z = astigmatic_spline(), rng.uniform(-450, 450, SPOTS)
            light = spline_light(spline, n, y, x, z)
            known |= {"model": "spline", "spline": spline, "z_nm": z}
        crops, true = draw(light, background, rng)
        for given in (background, None):
            found = integrate_crops(
                crops, method="ml", background=given, gain_e_per_adu=GAIN, qe=QE, read_noise_e=READ_E, **known
            )
            report(
                f"{name}, {'given' if given else 'fitted'}", found, true, bound(light, true, background, given is None)
            )


def bound(light: np.ndarray, photons: np.ndarray, background: float, fitted: bool) -> np.ndarray:
    """Cramér–Rao bound of the photons (k,), the background known or not."""
    weight = QE**2 / (QE * (photons[:, None, None] * light + background) + READ_E**2 + GAIN**2 / 12)
    pp, p1, one = (light**2 * weight).sum((1, 2)), (light * weight).sum((1, 2)), weight.sum((1, 2))
    return np.sqrt(one / (pp * one - p1**2)) if fitted else 1 / np.sqrt(pp)


def report(name: str, found: object, true: np.ndarray, best: np.ndarray) -> None:
    """Print bias, RMSE over the bound, and the calibration of errors and χ², in bands of brightness."""
    bias, ratio = [], []
    wrong = found.photons - true  # type: ignore[attr-defined]
    for low, high in BANDS:
        mine = (true >= low) & (true < high)
        relative = wrong[mine] / true[mine]
        bias.append(f"{100 * relative.mean():+.2f} ± {100 * relative.std() / np.sqrt(mine.sum()):.2f}")
        ratio.append(f"{np.sqrt(np.mean((wrong[mine] / best[mine]) ** 2)):.3f}")
    pull, chi2 = wrong / found.error, found.chi2  # type: ignore[attr-defined]
    print(f"{name:34} {'   '.join(bias):50} {' '.join(ratio):17} {pull.std():.3f}    {chi2.mean():.3f}")


def fits() -> None:
    """MLE fits of 11 × 11 crops against the bound of all five parameters."""
    print(f"{'photons, background':34} fails %   RMSE/CRB of y, x, photons, background, sigma   bias of photons %")
    for total, background in ((200, 0.5), (500, 0.5), (500, 5.0), (2000, 5.0), (1000, 50.0), (5000, 50.0), (200, 50.0)):
        for width in (None, 1.2):
            rng = np.random.default_rng(7)
            place = 5 + rng.uniform(-0.5, 0.5, (2, SPOTS))
            electrons = rng.poisson(QE * (total * gaussian(11, *place) + background))
            crops = np.rint((electrons + READ_E * rng.standard_normal(electrons.shape)) / GAIN).astype(np.float32)
            found = fit_spots(
                crops, camera=CAMERA, sigma_px=width, start={"y": np.rint(place[0]), "x": np.rint(place[1])}
            )
            true = (*place, total, background, 1.2)
            values = (found.y, found.x, found.photons, found.background, found.sigma)
            free = 5 if width is None else 4
            best = fit_bound(total, background, free)
            good = found.converged
            ratio = [np.sqrt(np.mean(((v - t) ** 2 * np.ones(SPOTS))[good])) for v, t in zip(values, true, strict=True)]
            ratio = np.array(ratio[:free]) / best
            bias = 100 * (found.photons[good].mean() / total - 1)
            name = f"{total}, {background}{'' if width is None else ', width known'}"
            print(f"{name:34} {100 * (1 - good.mean()):.2f}      {np.round(ratio, 3)}   {bias:+.2f}")


def fit_bound(
    total: float, background: float, free: int, sigma: float = 1.2, qe: float = QE, read_e: float = READ_E
) -> np.ndarray:
    """Cramér–Rao bounds of y, x, photons, background, sigma, averaged over places in a pixel."""
    bounds = []
    for y, x in 5 + np.random.default_rng(0).uniform(-0.5, 0.5, (40, 2)):
        at = np.array([y, x, total, background, sigma])

        def model(q: np.ndarray) -> np.ndarray:
            return qe * (q[2] * gaussian(11, q[:1], q[1:2], q[4])[0] + q[3]).ravel()

        slopes = np.array([(model(at + h) - model(at - h)) / (2 * h.max()) for h in np.diag(1e-4 * at)[:free]])
        information = slopes / (model(at) + read_e**2 + GAIN**2 / 12) @ slopes.T
        bounds.append(np.diag(np.linalg.inv(information)))
    return np.sqrt(np.mean(bounds, 0))


def detection() -> None:
    """False alarms of noise, then recall, precision and RMSE on simulated frames of 128 × 128."""
    for background, read, known in ((0.5, 0.0, 1), (0.5, 1.2, 1), (5.0, 1.2, 1), (50.0, 1.2, 1), (50.0, 1.2, 0)):
        camera = Camera(offset_adu=100, gain_e_per_adu=GAIN, read_noise_e=read) if known else None
        lines = []
        for stated in (0.1, 1.0, 10.0):
            rng = np.random.default_rng(9)
            operator = create("spots", Spec((512, 512), "uint16", camera=camera), false_alarms=stated, fit=None)
            count = 0.0
            for t in range(100):
                electrons = rng.poisson(background, (512, 512)) + read * rng.standard_normal((512, 512))
                frame = np.rint(100 + electrons / GAIN).astype(np.uint16)
                count += operator.update(Block(t, np.zeros(1), frame[None])).values["count"][0]
            lines.append(f"{stated} → {count / 100:.2f}")
        what = f"background {background}, read noise {read}, camera {'known' if known else 'unknown'}"
        print(f"false alarms a 512×512 frame, {what}: {'; '.join(lines)}")
    for total in (200, 400, 800, 1600, 3200):
        for spots in (4, 16, 64):
            found_and_true(total, spots)


def found_and_true(total: float, spots: int) -> None:
    """Recall and precision at 1.5 px, and RMSE over Cramér–Rao of spots with no other within 10 px."""
    frames, truth = simulate(
        frames=max(50, 4000 // spots), shape=(128, 128), spots=spots, motion="random", spot_photons=total, seed=11,
        spot_photons_sd=0.0, photons=5.0,
    )  # fmt: skip
    camera = Camera(**{name: float(truth[name]) for name in ("offset_adu", "gain_e_per_adu", "read_noise_e")})
    operator = create("spots", Spec(frames.shape[1:], "uint16", camera=camera), false_alarms=0.1)
    table = operator.update(Block(0, np.zeros(len(frames)), frames)).values["spots"]
    places = np.stack([truth["y_px"], truth["x_px"]], 1)
    found = np.stack([table["y_px"], table["x_px"]], 1)
    hits = seen = right = claimed = 0
    pulls = []
    for t in range(len(frames)):
        there, mine = places[truth["frame"] == t], np.flatnonzero((table["frame"] == t) & (table["flags"] & 24 == 0))
        if not len(there) or not len(mine):
            seen, claimed = seen + len(there), claimed + len(mine)
            continue
        inner = ((there > 4) & (there < 123)).all(1)
        tree, distance = cKDTree(found[mine]), cKDTree(there).query(found[mine])[0]
        nearest, number = tree.query(there)
        hits, seen = hits + int((nearest[inner] < 1.5).sum()), seen + int(inner.sum())
        right, claimed = right + int((distance < 1.5).sum()), claimed + len(mine)
        alone = inner & (cKDTree(there).query(there, 2)[0][:, 1] > 10) & (nearest < 1.5)
        rows = mine[number[alone]]
        pulls += ((found[rows] - there[alone]) ** 2).mean(1).tolist()
    area = 128**2 / 100  # µm² at .1 µm a pixel
    best = fit_bound(total, 5.0, 5, float(truth["sigma_px"]), 1.0, float(truth["read_noise_e"]))[:2].mean()
    print(f"{total} photons, {spots / area:.2f} a µm²: recall {hits / max(seen, 1):.3f}, precision "
          f"{right / max(claimed, 1):.3f}, RMSE/CRB of isolated ones {np.sqrt(np.mean(pulls)) / best:.3f}")  # fmt: skip


def clock(call: Callable[[], object], times: int = 1) -> float:
    """Median seconds of a core for a call, made so many times in each of several rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(times):
            call()
        took.append((time.thread_time() - began) / times)
    return float(np.median(took))


def cost() -> None:
    """Time a spot and a frame, with one rfft2 of 512×512 float32 as the measure."""
    rng = np.random.default_rng(1)
    y, x = 5 + rng.uniform(-0.5, 0.5, (2, 10_000))
    crops, _ = draw(gaussian(11, y, x), 5.0, rng)
    for count in (10_000, 10):
        known = {"y_nm": 100 * y[:count], "x_nm": 100 * x[:count], "sigma_x_nm": 120.0, "sigma_y_nm": 170.0}
        known |= {"background": 5.0, "gain_e_per_adu": GAIN, "qe": QE, "theta_deg": 30.0}
        for model, method in (
            ("isogauss", "weighted"), ("gauss", "weighted"), ("isogauss", "ml"), ("isogauss", "border"),
        ):  # fmt: skip
            call = partial(integrate_crops, crops[:count], model=model, method=method, **known)
            call()
            took = clock(call, 1000 if count == 10 else 1) / count * 1e6
            print(f"{method} {model}, {count} spots: {took:.2f} µs a spot (the peer, weighted: {PEER_US[count]})")
    start = {"y": y + rng.normal(0, 0.2, len(y)), "x": x + rng.normal(0, 0.2, len(x)), "photons": 1000.0,
             "background": 5.0, "sigma": 1.3}  # fmt: skip
    for name, options in (
        ("given starts", {"start": start}),
        ("phasor starts", {}),
        ("phasor alone", {"fit": "phasor"}),
    ):
        fit_spots(crops[:10], camera=CAMERA)
        took = clock(lambda options=options: fit_spots(crops, camera=CAMERA, **options))
        print(f"fits, {name}: {len(crops) / took / 1000:.0f},000 a second (accepted 80,000, goal 200,000)")
    frame_cost()


def frame_cost() -> None:
    """A frame of 512×512 with 200 spots: detected, fitted and integrated; and at known positions."""
    frames, truth = simulate(frames=32, shape=(512, 512), spots=200, spot_photons=1000, seed=3)
    camera = Camera(**{name: float(truth[name]) for name in ("offset_adu", "gain_e_per_adu", "read_noise_e")})
    single = frames[0].astype(np.float32)
    for name, params in (
        ("found, fitted, integrated", {}), ("found, phasor, ml", {"fit": "phasor"}),
        ("known positions", {"spots": truth["position_px"]}), ("found on the mean", {"detect": "mean"}),
    ):  # fmt: skip
        operator = create("spots", Spec((512, 512), "uint16", camera=camera), **params)
        for size in (32, 1):
            index, ratios = 0, []
            for _ in range(ROUNDS + 2):
                transform = clock(partial(rfft2, single))
                began = time.thread_time()
                for start in range(0, 32, size):
                    operator.update(Block(index, np.zeros(size), frames[start : start + size]))
                    index += size
                ratios.append((time.thread_time() - began) / 32 / transform)
            print(f"200 spots in 512×512, {name}, blocks of {size}: {np.median(ratios):.2f} rfft2 "
                  f"({min(ratios):.2f} to {max(ratios):.2f}; {1e3 * np.median(ratios) * transform:.2f} ms), "
                  "accepted 5")  # fmt: skip


if __name__ == "__main__":
    {"--photons": photons, "--fits": fits, "--detection": detection}.get(
        sys.argv[1] if len(sys.argv) > 1 else "", cost
    )()
