"""Motion against the truth on simulated movies of any light: which frames off by more than a pixel are `valid`.

    python tools/fuzz_motion.py --seeds 0 60                       tissue, .3 to 100 photons a pixel
    python tools/fuzz_motion.py --seeds 0 40 --photons 5           one brightness
    python tools/fuzz_motion.py --seeds 0 40 --scene lattice       beads on a regular grid, stripes

Each movie shows tissue that drifts, and in every second segment something happens to light or place. Frames count as
good where the scene is there, inside max_shift_px, and the Cramér–Rao bound of the movie's shift is below .2 px; those
of the first 200 frames are left out of the share that is valid, as dim movies take so long to begin. On a lattice a
shift is known up to a period: nothing counts as good there.
"""

import argparse
import time
from collections import Counter
from multiprocessing import Pool

import numpy as np
import scipy.ndimage as ndi

import streamfluo
from streamfluo import Block, Spec

PAD, SEGMENT, CALM, MAX_PX = 48, 20, 60, 8
EVENTS = (
    "as before", "added", "more", "flickers", "from one side", "shut off", "another scene", "another place",
    "jump within", "jump beyond", "jumps each frame", "half covered",
)  # fmt: skip
NOT_THERE = ("shut off", "another scene", "another place")
SCENES = ("tissue", "lattice", "stripes", "near lattice")
MOST_BOUND_PX = 0.2


def tissue(rng: np.random.Generator, side: int) -> np.ndarray:
    """A texture with blobs, or blobs alone on an even background (y, x), of about 1."""
    y, x = np.mgrid[: side + 2 * PAD, : side + 2 * PAD]
    image = 1 + rng.choice([0.0, 0.3]) * np.sin(x / rng.uniform(3, 12)) * np.cos(y / rng.uniform(3, 12))
    for _ in range(int(rng.uniform(0.002, 0.006) * image.size)):
        at, sigma_px = rng.uniform(0, side + 2 * PAD, 2), rng.uniform(1.2, 5)
        image += rng.uniform(0.1, 0.9) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * sigma_px**2))
    return image


def lattice(rng: np.random.Generator, side: int, scatter: float) -> np.ndarray:
    """Beads on a regular grid of 3.5 to 14 px, perhaps turned (y, x); `scatter`: relative sd of their brightness."""
    y, x = np.mgrid[: side + 2 * PAD, : side + 2 * PAD]
    period, angle, image = rng.uniform(3.5, 14), rng.choice([0.0, rng.uniform(0, np.pi / 4)]), np.full(y.shape, 0.3)
    steps = np.arange(-60, 61) * period
    places = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    places = places @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]] + len(y) / 2
    sigma_px = rng.uniform(0.2, 0.33) * period
    for at in places[((places > -5) & (places < len(y) + 5)).all(1)]:
        top, left = (np.maximum(0, at - 5 * sigma_px)).astype(int)
        part = np.s_[top : int(at[0] + 5 * sigma_px) + 2, left : int(at[1] + 5 * sigma_px) + 2]
        height = max(0.1, 1 + scatter * rng.standard_normal())
        image[part] += height * np.exp(-((y[part] - at[0]) ** 2 + (x[part] - at[1]) ** 2) / (2 * sigma_px**2))
    return image / image.mean()


def stripes(rng: np.random.Generator, side: int) -> np.ndarray:
    """A grating of 4 to 20 px (y, x), of mean 1."""
    y, x = np.mgrid[: side + 2 * PAD, : side + 2 * PAD]
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    return 1 + 0.7 * np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / rng.uniform(4, 20))


def scene(rng: np.random.Generator, kind: str, side: int) -> np.ndarray:
    if kind == "tissue":
        return tissue(rng, side)
    return stripes(rng, side) if kind == "stripes" else lattice(rng, side, 0.35 if kind == "near lattice" else 0.0)


def bound_px(image: np.ndarray, photons: float, read_noise_e: float) -> float:
    """The Cramér–Rao bound of a shift along its worst axis, means of 16 × 16 pixels taken out."""
    slopes = [s - ndi.uniform_filter(s, 16) for s in np.gradient(photons * image[PAD:-PAD, PAD:-PAD])]
    weight = 1 / (photons * image[PAD:-PAD, PAD:-PAD] + read_noise_e**2)
    information = np.array([[np.sum(a * b * weight) for a in slopes] for b in slopes])
    return float(np.linalg.eigvalsh(information)[0] ** -0.5) if np.linalg.det(information) > 0 else np.inf


def walk(rng: np.random.Generator, events: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (t, 2) [px] of smooth motion and the jumps of events, and the event of each frame."""
    frames = np.repeat(events, SEGMENT)
    t, amplitude_px = np.arange(len(frames)), rng.uniform(0.3, 2.5)
    shifts = amplitude_px * np.stack([np.sin(t / rng.uniform(15, 60)), np.cos(t / rng.uniform(15, 60)) - 1], 1)
    for n, event in enumerate(events):
        part = slice(n * SEGMENT, (n + 1) * SEGMENT)
        direction = rng.standard_normal(2)
        direction /= np.abs(direction).max()
        if event == "jump within":
            shifts[part] = np.clip(shifts[part] + direction * rng.uniform(2, MAX_PX), 0.5 - MAX_PX, MAX_PX - 0.5)
        elif event == "jump beyond":
            shifts[part] += direction * rng.uniform(MAX_PX + 6, 24)
        elif event == "jumps each frame":
            shifts[part] = rng.uniform(0.5 - MAX_PX, MAX_PX - 0.5, (SEGMENT, 2))
    return shifts, frames


def movie(seed: int, kind: str, photons: float | None) -> dict:
    """Frames (t, y, x) uint16 of a seed, and their truth."""
    rng = np.random.default_rng([seed, SCENES.index(kind)])
    side = int(rng.choice([64, 64, 96]))
    level = 10 ** rng.uniform(np.log10(0.3), 2)
    level = level if photons is None else photons
    adu_per_photon, read_noise_e = 10 ** rng.uniform(-0.5, 1.3), rng.uniform(0.3, 2)
    here, other = scene(rng, kind, side), scene(rng, kind, side)
    events = ["as before"] * (CALM // SEGMENT + (8 if level < 5 else 0))
    for event in rng.permutation(EVENTS[1:]):
        events += [str(event), "as before"]
    shifts, frames = walk(rng, events)
    images = {False: ndi.spline_filter(here), True: ndi.spline_filter(other)}
    y, x = np.mgrid[:side, :side].astype(float)
    pixels = np.empty((len(frames), side, side), np.uint16)
    for t, (shift, event) in enumerate(zip(shifts, frames, strict=True)):
        away = np.array([23.0, -26.0]) if event == "another place" else np.zeros(2)
        origin = [y + PAD - shift[0] - away[0], x + PAD - shift[1] - away[1]]
        light = np.maximum(ndi.map_coordinates(images[event == "another scene"], origin, order=3, prefilter=False), 0)
        light = level * lit(rng, light, event, 1 + 3 * (t // SEGMENT % 5) / 5, x / side)
        electrons = rng.poisson(light) + read_noise_e * rng.standard_normal(light.shape)
        pixels[t] = np.clip(np.rint(electrons * adu_per_photon + 100), 0, 65535)
    inside = (np.abs(shifts) <= MAX_PX).all(1)
    return {
        "pixels": pixels, "shifts": shifts, "events": frames, "photons": level,
        "bound": bound_px(here, level, read_noise_e), "there": ~np.isin(frames, NOT_THERE) & inside,
        "one place": kind in ("tissue", "near lattice"),
    }  # fmt: skip


def lit(rng: np.random.Generator, light: np.ndarray, event: str, amount: float, across: np.ndarray) -> np.ndarray:
    """The light (y, x) of a frame, in units of the tissue's mean, after an event."""
    if event == "added":
        return light + amount
    if event == "more":
        return 1.8 * light
    if event == "flickers":
        return light * np.clip(1 + 0.2 * rng.standard_normal(), 0.65, 1.9)
    if event == "from one side":
        return light + amount * across
    if event == "half covered":
        return light * (across > 0.5)
    return 0 * light if event == "shut off" else light


def judge(words: tuple[int, str, float | None]) -> dict:
    """Run the movie of a seed; see `judged`."""
    return {"seed": words[0], **judged(movie(*words))}


def judged(made: dict) -> dict:
    """Counts of frames wrong and valid by event, and of good frames and those of them that are valid, of a movie."""
    frames, events = made["pixels"], made["events"]
    operator = streamfluo.create("motion", Spec(frames.shape[1:], "uint16"), max_shift_px=MAX_PX)
    values = operator.update(Block(0, np.arange(len(frames)), frames)).values
    index, valid = np.arange(len(frames)), np.array(values["valid"])
    valid &= (index > 0) & ~values["restarted"]  # a template's first frame has its own place
    error = values["shift_px"] - made["shifts"]
    begin = np.flatnonzero(valid & (events == "as before"))[: 3 * SEGMENT]
    reference = np.median(error[begin], axis=0) if len(begin) else np.zeros(2)
    error = np.abs(error - reference).max(1)
    wrong = valid & ((error > 1) | ~made["there"])
    good = made["there"] & (events != "half covered") & (index >= 200) & (made["bound"] < MOST_BOUND_PX)
    good &= made["one place"]
    return {
        "photons": made["photons"], "side": frames.shape[1], "bound": made["bound"], "frames": len(frames),
        "wrong": Counter(map(str, events[wrong])), "valid": int(valid.sum()), "at": np.flatnonzero(wrong).tolist(),
        "good": int(good.sum()), "found": int((good & valid).sum()), "missed": Counter(map(str, events[good & ~valid])),
        "restarts": int(values["restarted"].sum()), "doubt": operator.doubt(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 60), help="first seed, and one behind the last")
    parser.add_argument("--scene", choices=SCENES, default="tissue")
    parser.add_argument("--photons", type=float, help="a pixel; drawn from .3 to 100 otherwise")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--verbose", action="store_true", help="one line for each movie with wrong frames")
    words = parser.parse_args()
    began = time.perf_counter()
    with Pool(words.jobs) as pool:
        each = pool.map(judge, [(seed, words.scene, words.photons) for seed in range(*words.seeds)], chunksize=1)
    for low, high in ((0.3, 1), (1, 3), (3, 10), (10, 30), (30, 101)):
        some = [e for e in each if low <= e["photons"] < high]
        if some:
            report(f"{low:g} to {high:g} photons", some)
    report("all", each)
    print(f"{words.scene}, seeds {words.seeds[0]} to {words.seeds[1] - 1}, {time.perf_counter() - began:.0f} s")
    for e in each if words.verbose else ():
        if e["wrong"] or e["found"] < 0.97 * e["good"] or e["restarts"]:
            print(
                {
                    k: (round(v, 3) if isinstance(v, float) else dict(v) if isinstance(v, Counter) else v)
                    for k, v in e.items()
                }
            )


def report(label: str, some: list[dict]) -> None:
    """Print one line for some movies."""
    total = {key: sum(e[key] for e in some) for key in ("frames", "valid", "good", "found")}
    wrong, missed = sum((e["wrong"] for e in some), Counter()), sum((e["missed"] for e in some), Counter())
    share = f"{total['found'] / total['good']:.4f}" if total["good"] else "–"
    print(
        f"{label}: {len(some)} movies, {total['frames']} frames, {total['valid']} valid, {wrong.total()} of them wrong "
        f"in {sum(bool(e['wrong']) for e in some)} movies {dict(wrong)}; of {total['good']} good frames {share} valid, "
        f"missed {dict(missed)}"
    )


if __name__ == "__main__":
    main()
