"""Series and frames that contradict what is taken for granted of a camera: is a number stated, and what is said.

export PYTHONPATH=tests:tests/gain:tests/spots   # the recordings are those of the tests, of other seeds
python tools/bench_doubts.py --series 7821       # photon transfer: 35 cases of three seeds, held or wrong
python tools/bench_doubts.py --spots 7200        # errors without a camera, false alarms, structure that stands still
"""

import sys

import numpy as np
from scipy import ndimage as ndi
from test_doubts import GAIN, OFFSET, PROCESSED, rounded, series, shifted, streamed
from test_spots_doubts import CAMERA, SHAPE, SPARSE, blobs, filaments, frames_of, looked_at

from streamfluo import Camera, FrameError
from streamfluo.analysis import calibrate
from streamfluo.simulate import gain as simulate

DARK_SEED = 500  # added, for dark frames of the same camera


def light(seed, **params):
    return rounded(series(seed, **params)[0])


def processed(process, dtype="float32", **params):
    def make(seed):
        frames = process(light(seed, **params).astype(float))
        return [rounded(frames) if dtype == "uint16" else frames.astype(np.float32)], None

    return make


def levels(**params):
    def make(seed):
        peaks = (100, 400, 2000)
        curved = params.get("curved", 0.0)
        return [light(10 * seed + n, **{**params, "curved": curved * p / 2000, "peak": p})
                for n, p in enumerate(peaks)], None  # fmt: skip

    return make


def one_level(darks=False, **params):
    of_dark = {name: value for name, value in params.items() if name in ("jitter", "scatter")}
    return lambda seed: ([light(seed, **params)], light(seed + DARK_SEED, dark=True, **of_dark) if darks else None)


def clipped(darks, **params):
    def make(seed):
        stacks, dark = one_level(darks, **params)(seed)
        cut = [rounded(stack - OFFSET) for stack in (*stacks, *([dark] if darks else []))]
        return cut[:1], cut[1] if darks else None

    return make


def clean(**params):
    def make(seed):
        movie, truth = simulate(**{"shape": (64, 64), "levels": 1, "frames": 400, **params}, seed=seed)
        stacks = [movie[truth["level"] == n] for n in range(params.get("levels", 1))]
        return stacks, None, np.median(truth["gain_map"])

    return make


def cases():
    found = {f"{name}, {dtype}": processed(each, dtype)
             for name, each in PROCESSED.items() for dtype in ("uint16", "float32")}  # fmt: skip
    for sigma in (0.5, 0.35):
        found[f"Gaussian filter of {sigma} px"] = processed(lambda f, s=sigma: ndi.gaussian_filter(f, (0, s, s)))
    found["binned 2 × 2"] = processed(lambda f: f.reshape(len(f), 32, 2, 32, 2).sum((2, 4)), "uint16")
    found["registered, gains scatter by 5 %"] = processed(shifted, "uint16", scatter=0.05)
    for scatter in (0.0, 0.05):
        found[f"5 % non-linear, 3 levels, gains scatter by {scatter:.0%}"] = levels(curved=0.05, scatter=scatter)
        found[f"the same, one level and darks, {scatter:.0%}"] = one_level(True, curved=0.05, scatter=scatter)
    found["the same, one level"] = one_level(curved=0.05)
    found["offset subtracted, cut off at 0, darks"] = clipped(True)
    found["the same, 20 electrons, no darks"] = clipped(False, peak=20.0)
    for jitter in (1.0, 3.0, 10.0):
        found[f"offset jitters by {jitter:g} ADU"] = one_level(jitter=jitter)
        found[f"the same, darks, {jitter:g} ADU"] = one_level(True, jitter=jitter)
    found["offset jitters by 3 ADU, 3 levels"] = levels(jitter=3.0)
    found["light swings by 10 %"], found["light swings by 3 %"] = one_level(swing=0.1), one_level(swing=0.03)
    found["clean"], found["clean, 4 levels"] = clean(), clean(levels=4, frames=800)
    found["clean, gains scatter by 5 %"] = clean(gain_sd=0.05)
    found["clean, flicker of 1 %"], found["clean, flicker of 5 %"] = clean(flicker=0.01), clean(flicker=0.05)
    return found


def judged(value, interval, reason, true):
    if reason:
        return "U"
    low, high = interval
    return "H" if 0.998 * low <= true <= 1.002 * high else f"WRONG {value / true:.3f}"


def of_series(first):
    print("calibrate and gain, of each seed: U undetermined, H the interval holds the truth within .2 %")
    for name, make in cases().items():
        said, why = [], ""
        for seed in range(first, first + 3):
            stacks, dark, *known = make(seed)
            true = known[0] if known else series(1, frames=2, scatter=0.05)[1] if "5 %" in name[-10:] else GAIN
            try:
                fit = calibrate(stacks, dark=dark).fit
                found = [(fit.gain, fit.interval, fit.reason)]
            except FrameError as error:
                found = [(np.nan, (np.nan, np.nan), str(error))]
            if len(stacks) == 1:
                value, interval, status = streamed(stacks[0], **({} if dark is None else {"dark": dark}))
                found.append((value, interval, "" if status.startswith("determined") else status))
            said += [judged(*each, true) for each in found]
            why = next((reason for _, _, reason in found if reason), why)
        print(f"{name:50} {' '.join(said)} | {why[:90]}", flush=True)


def errors(first):
    print("stated errors over the scatter of 49 places in 60 frames: photons, y")
    along = np.arange(SHAPE[0])
    for photons, background in ((300, 2), (300, 20), (1000, 5), (1000, 50), (5000, 20)):
        rng, at = np.random.default_rng(first + photons + background), np.arange(10, 90, 13.0)
        places = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2) + rng.uniform(-0.5, 0.5, (49, 2))
        y, x = (np.exp(-((along - c[:, None]) ** 2) / 2 / 1.3**2) / 1.3 / np.sqrt(2 * np.pi) for c in places.T)
        frames = frames_of(background + photons * np.einsum("ky,kx->yx", y, x), 60, first + photons)
        for camera in (None, CAMERA):
            table, sums = looked_at(frames, camera, false_alarms=0.01)[0], []
            for place in places:
                mine = np.hypot(table["y_px"] - place[0], table["x_px"] - place[1]) < 1.5
                if mine.sum() > 20:
                    sums.append([np.mean(table["error"][mine] ** 2), np.var(table["photons"][mine]),
                                 np.mean(table["y_error_px"][mine] ** 2), np.var(table["y_px"][mine])])  # fmt: skip
            stated, real, stated_y, real_y = np.mean(sums, 0)
            ratios = np.sqrt([stated / real, stated_y / real_y])
            print(
                f"{photons} on {background}, camera {'known' if camera else 'unknown'}: {ratios.round(2)}", flush=True
            )


def of_spots(first):
    errors(first)
    print("false alarms a 96×96 frame, stated 1, camera unknown, 36 frames")
    for name, noise in SPARSE.items():
        frames = [noise(np.random.default_rng(first + 101 + k), (12, *SHAPE)).astype(np.uint16) for k in range(3)]
        alarms = [len(looked_at(each)[0]["frame"]) for each in frames]
        print(f"{name}: {sum(alarms) / 36:.2f}", flush=True)
    offset = 100 + np.random.default_rng(first).normal(0, 3, SHAPE)
    print("found a frame of 96×96, of which stand still, and what is said")
    for name, make in (
        ("filaments", lambda seed: frames_of(filaments(seed), 66, seed)),
        ("blobs", lambda seed: frames_of(blobs(seed), 66, seed)),
        ("offsets scatter by 3 ADU", lambda seed: frames_of(10.0, 66, seed, offset)),
        ("even light", lambda seed: frames_of(10.0, 66, seed)),
    ):
        for camera in (None, CAMERA, *([Camera(offset, 0.5, 1.5)] if "offsets" in name else [])):
            known = "unknown" if camera is None else "numbers" if np.ndim(camera.offset_adu) == 0 else "maps"
            for seed in (first + 211, first + 212):
                table, operator = looked_at(make(seed), camera)
                found = operator.read()
                print(f"{name}, camera {known}: {len(table['frame']) / 66:.2f}, {float(found['still']):.2f}; "
                      f"{str(found['status'])[:70]}", flush=True)  # fmt: skip


if __name__ == "__main__":
    {"--series": of_series, "--spots": of_spots}[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 7821)
