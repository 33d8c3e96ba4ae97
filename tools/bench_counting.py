"""Counting: accuracy, cost of batch fits, cost of a frame online.

    python tools/bench_counting.py --cost --online          # seconds to minutes
    python tools/bench_counting.py --pooled                 # one seed: half a minute
    python tools/bench_counting.py --accuracy               # five seeds, pooled and alone, and with the true parameters
    python tools/bench_counting.py --scatter --table --bleaching

Traces: 1 … 8 emitters, five of each, 1000 frames, p_on .05, p_off .08; lognormal (mu 2000, mu_bg 5000, sigma .05) or
camera (1000 e and 1000 e of background a frame, 15.8 e read noise), unless stated otherwise.
"""

import resource
import sys
import time
from typing import NamedTuple

import numpy as np

from streamfluo import Block, Camera, Spec, counting, create
from streamfluo.counting.bounds import parameter_bounds
from streamfluo.counting.fit import Search
from streamfluo.counting.fit_alone import fit_alone
from streamfluo.counting.kernels.crosschecks import credible_interval, posterior
from streamfluo.counting.kernels.likelihood import EmitterModel

EMITTERS, ALL = np.repeat(np.arange(1, 9), 5), np.arange(1, 11)
TRUE = {"lognormal": (2000.0, 5000.0, 0.05, 0.05, 0.08, 0.0), "camera": (1000.0, 1000.0, 15.8, 0.05, 0.08, 0.0)}
READ = {"lognormal": None, "camera": Camera(0.0, 1.0, 15.8)}


class Case(NamedTuple):
    """What is simulated: kinetics (p_on, p_off, p_bleach), scatter of brightness (relative), brightness (× mu)."""

    frames: int = 1000
    emitters: np.ndarray = EMITTERS
    kinetics: tuple[float, float, float] = (0.05, 0.08, 0.0)
    scatter: float = 0.0
    brightness: float = 1.0


def traces(emission, seed, case=Case()):
    """Return simulated traces (n, frames): each emitter bleaches, then blinks."""
    rng = np.random.default_rng(seed)
    (p_on, p_off, p_bleach), ys, frames = case.kinetics, case.emitters, case.frames
    spot = np.repeat(np.arange(len(ys)), ys)
    on, alive = rng.random(len(spot)) < p_on / (p_on + p_off), np.ones(len(spot), bool)
    z = np.empty((len(ys), frames))
    for t in range(frames):
        if t:
            alive &= ~(on & (rng.random(len(spot)) < p_bleach))
            on = np.where(on, rng.random(len(spot)) >= p_off, rng.random(len(spot)) < p_on) & alive
        z[:, t] = np.bincount(spot, on, len(ys))
    mu, mu_bg, sigma = TRUE[emission][:3]
    mean = case.brightness * mu * np.exp(case.scatter * rng.normal(size=(len(ys), 1))) * z + mu_bg
    if emission == "lognormal":
        return mean * np.exp(sigma * rng.normal(size=z.shape))
    return rng.poisson(mean) + sigma * rng.normal(size=z.shape)


def scores(found):
    return scores_of(found.y, found.credible_interval, found.flat)


def scores_of(counts, interval, flat=0):
    """Return exact (%), mean error, coverage of the 90 % interval (%), flat (%)."""
    inside = (interval[:, 0] <= EMITTERS) & (interval[:, 1] >= EMITTERS)
    error = np.abs(counts - EMITTERS)
    return np.array([100 * np.mean(error == 0), error.mean(), 100 * inside.mean(), 100 * np.mean(flat)])


def with_true_parameters(x, emission, case=Case()):
    """Return the scores under the true parameters: the upper limit."""
    mu, mu_bg, sigma = TRUE[emission][:3]
    theta = counting.Parameters(mu * case.brightness, mu_bg, sigma, *case.kinetics)
    logs = np.stack([counting.log_likelihood(x, y, theta, emission=emission) for y in range(1, 11)], axis=1)
    return scores_of(logs.argmax(1) + 1, credible_interval(posterior(logs, ALL), ALL))


def from_true_parameters(x, emission):
    """Return the scores of fits of each trace alone that start at the true parameters: the best optimiser's."""
    camera, seen = emission == "camera", x.T if emission == "camera" else np.log(x.T)
    bounds = np.array([parameter_bounds(trace[:, None], camera, False, 15.8 if camera else None) for trace in x])
    logs = []
    for y in range(1, 11):
        model = EmitterModel(camera, False, y, y, float(np.abs(x).max()) / 1024)
        logs.append(fit_alone(seen, x.T, model, Search(bounds, 1, np.array(TRUE[emission])[None]))[1])
    return scores_of(np.argmax(logs, axis=0) + 1, credible_interval(posterior(np.transpose(logs), ALL), ALL))


def accuracy():
    print("exact %, mean error, 90 % interval holds the truth %, flat %; means of five seeds")
    for emission in TRUE:
        rows = {"truth": [], "pooled": [], "alone": [], "alone, from the truth": []}
        for seed in range(5):
            x = traces(emission, seed)
            rows["truth"].append(with_true_parameters(x, emission))
            for name, pooled in (("pooled", True), ("alone", False)):
                rows[name].append(
                    scores(counting.estimate_y(x, 10, emission=emission, pooled=pooled, camera=READ[emission]))
                )
            rows["alone, from the truth"].append(from_true_parameters(x, emission))
        for name, found in rows.items():
            print(f"{emission:10} {name:26} {np.round(np.mean(found, axis=0), 3)}", flush=True)


def pooled():
    print("one seed: exact %, mean error, 90 % interval holds the truth %, flat %; doubtful %; CPU s a trace")
    for emission in TRUE:
        x = traces(emission, 0)
        for name, factor in (("pooled", None), ("no factor", 0.0)):
            began = time.process_time()
            found = counting.estimate_y(x, 10, emission=emission, camera=READ[emission], brightness_scatter=factor)
            spent, doubtful = (time.process_time() - began) / len(x), 100 * np.mean(found.doubtful)
            print(f"{emission:10} {name:10} {np.round(scores(found), 3)} {doubtful:.1f} {spent:.3f}", flush=True)


def scatter():
    print("scatter of brightness; exact % and mean error without a factor, with one (scatter estimated); the estimate")
    for emission in TRUE:
        for width in (0.0, 0.05, 0.1, 0.2):
            without, with_, estimated = [], [], []
            for seed in range(3):
                x = traces(emission, seed, Case(scatter=width))
                known = {"emission": emission, "camera": READ[emission]}
                without.append(scores(counting.estimate_y(x, 10, brightness_scatter=0.0, **known)))
                found = counting.estimate_y(x, 10, **known)
                with_.append(scores(found))
                estimated.append(found.scatter)
            print(f"{emission:10} {width:5.0%} {np.round(np.mean(without, 0), 2)} {np.round(np.mean(with_, 0), 2)} "
                  f"{np.mean(estimated):.3f}", flush=True)  # fmt: skip


def table():
    cases = {f"{n} frames": Case(frames=n) for n in (100, 200, 500, 1000, 2000)}
    cases |= {f"brightness × {b}": Case(brightness=b) for b in (0.25, 0.5, 1, 2)}
    cases |= {
        f"p_on {a}, p_off {b}": Case(kinetics=(a, b, 0.0))
        for a, b in ((0.005, 0.008), (0.02, 0.2), (0.2, 0.05), (0.2, 0.3))
    }
    for emission in TRUE:
        for name, case in cases.items():
            found, best = [], []
            for seed in range(3):
                x = traces(emission, seed, case)
                best.append(with_true_parameters(x, emission, case))
                found.append(scores(counting.estimate_y(x, 10, emission=emission, camera=READ[emission])))
            print(
                f"{emission:10} {name:24} pooled {np.round(np.mean(found, 0), 2)} "
                f"truth {np.round(np.mean(best, 0), 2)}",
                flush=True,
            )


def bleaching():
    case = Case(kinetics=(0.05, 0.08, 0.003))
    for emission in TRUE:
        on, off, best = [], [], []
        for seed in range(3):
            x = traces(emission, seed, case)
            known = {"emission": emission, "camera": READ[emission]}
            best.append(with_true_parameters(x, emission, case))
            on.append(scores(counting.estimate_y(x, 10, bleaching=True, **known)))
            off.append(scores(counting.estimate_y(x, 10, **known)))
        print(f"{emission:10} p_bleach .003: modelled {np.round(np.mean(on, 0), 2)} not {np.round(np.mean(off, 0), 2)} "
              f"truth {np.round(np.mean(best, 0), 2)}", flush=True)  # fmt: skip


def cost():
    for emission in TRUE:
        x = traces(emission, 0)
        for name, params in {
            "pooled": {},
            "pooled, no factor": {"brightness_scatter": 0.0},
            "alone": {"pooled": False},
        }.items():
            counting.estimate_y(x[:, :60], 10, emission=emission, camera=READ[emission], **params)
            spent = []
            for _ in range(3):
                began = time.process_time()
                counting.estimate_y(x, 10, emission=emission, camera=READ[emission], **params)
                spent.append((time.process_time() - began) / len(x))
            print(
                f"{emission} {name}: {np.median(spent):.3f} CPU s a trace (40 traces of 1000 frames, max_y 10)",
                flush=True,
            )
    many = np.tile(np.arange(1, 9), 125)
    x = traces("lognormal", 0, Case(emitters=many))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = counting.estimate_y(x, 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exact = 100 * np.mean(found.y == many)
    spent = (time.process_time() - began) / 1000
    memory = f"{peak / 1024:.0f} MB ({before / 1024:.0f} before)"
    print(f"1000 traces: {spent:.3f} CPU s a trace, exact {exact:.1f} %; {memory}", flush=True)


def online():
    """1000 traces: known parameters at full rate; estimated parameters at 50 frames a second."""
    n, frames = 1000, 800
    for emission in TRUE:
        x = traces(emission, 0, Case(frames, np.tile(np.arange(1, 9), n // 8)))
        spec = Spec((8, 8), "uint16", interval_s=0.02)
        copies = []
        for _ in range(50):
            source = np.random.default_rng(0).integers(0, 9, (512, 512), np.uint16)
            target, began = np.zeros_like(source), time.perf_counter()
            np.copyto(target, source)
            copies.append(time.perf_counter() - began)
        for name, params in {
            "known parameters": {"update_every": 0, "parameters": TRUE[emission]},
            "estimated parameters": {},
        }.items():
            operator = create("count", spec, emission=emission, **params)
            each = []
            for t in range(frames):
                block, inputs = Block(t, [t], np.zeros((1, 8, 8), np.uint16)), {"photons": x[:, t : t + 1].T}
                began = time.perf_counter()
                operator.update(block, inputs)
                each.append(1e3 * (time.perf_counter() - began))
                if name == "estimated parameters":
                    time.sleep(max(0.0, 0.02 - each[-1] / 1e3))
            ms = np.array(each)
            print(f"{emission} {name}: {n} traces, n ≤ 10: median {np.median(ms):.2f}, mean {ms.mean():.2f}, p99 "
                  f"{np.percentile(ms, 99):.1f}, worst {ms.max():.0f} ms a frame; a cold copy of 512×512×u16 "
                  f"{1e3 * np.median(copies):.3f} ms; accepted ≤ 1.2, goal .6", flush=True)  # fmt: skip


if __name__ == "__main__":
    jobs = {f"--{job.__name__}": job for job in (cost, online, accuracy, pooled, scatter, table, bleaching)}
    for flag in sys.argv[1:] or ("--cost", "--online"):
        jobs[flag]()
