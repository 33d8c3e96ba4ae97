"""Counting: how often it is right, what it costs, what a frame costs live.

    python tools/bench_counting.py --cost --online          # seconds to minutes
    python tools/bench_counting.py --accuracy               # five seeds, pooled and alone, beside the truth's
    python tools/bench_counting.py --scatter --table --bleaching

Traces: y = 1 … 8, five of each, 1000 frames, p_on .05, p_off .08; lognormal (mu 2000, mu_bg 5000, sigma .05) or camera
(1000 e and 1000 e of background a frame, 15.8 e read noise), unless said otherwise.
"""

import resource
import sys
import time

import numpy as np

from streamfluo import Block, Camera, Spec, counting, create
from streamfluo.counting.bounds import ranges_of
from streamfluo.counting.fit import Search
from streamfluo.counting.fit_alone import fit_alone
from streamfluo.counting.kernels.crosschecks import credible_interval, posterior
from streamfluo.counting.kernels.likelihood import EmitterModel

YS, ALL = np.repeat(np.arange(1, 9), 5), np.arange(1, 11)
TRUE = {"lognormal": (2000.0, 5000.0, 0.05, 0.05, 0.08, 0.0), "camera": (1000.0, 1000.0, 15.8, 0.05, 0.08, 0.0)}
READ = {"lognormal": None, "camera": Camera(0.0, 1.0, 15.8)}


def traces(emission, seed, frames=1000, ys=YS, scatter=0.0, kinetics=(0.05, 0.08, 0.0), bright=1.0):
    """Simulated traces (n, frames), emitter by emitter: bleaching, then blinking."""
    rng = np.random.default_rng(seed)
    p_on, p_off, p_bleach = kinetics
    spot = np.repeat(np.arange(len(ys)), ys)
    on, alive = rng.random(len(spot)) < p_on / (p_on + p_off), np.ones(len(spot), bool)
    z = np.empty((len(ys), frames))
    for t in range(frames):
        if t:
            alive &= ~(on & (rng.random(len(spot)) < p_bleach))
            on = np.where(on, rng.random(len(spot)) >= p_off, rng.random(len(spot)) < p_on) & alive
        z[:, t] = np.bincount(spot, on, len(ys))
    mu, mu_bg, sigma = TRUE[emission][:3]
    mean = bright * mu * np.exp(scatter * rng.normal(size=(len(ys), 1))) * z + mu_bg
    if emission == "lognormal":
        return mean * np.exp(sigma * rng.normal(size=z.shape))
    return rng.poisson(mean) + sigma * rng.normal(size=z.shape)


def judged(found, ys=YS):
    """Exact (%), mean error, 90 % interval holds the truth (%), flat (%)."""
    return judged_of(found.y, found.credible_interval, ys, found.flat)


def judged_of(y, interval, ys, flat=0):
    inside = (interval[:, 0] <= ys) & (ys <= interval[:, 1])
    return np.array([100 * np.mean(y == ys), np.mean(np.abs(y - ys)), 100 * inside.mean(), 100 * np.mean(flat)])


def at_the_truth(x, emission, bright=1.0, kinetics=(0.05, 0.08, 0.0)):
    """What the true parameters give: the ceiling."""
    mu, mu_bg, sigma = TRUE[emission][:3]
    theta = counting.Parameters(mu * bright, mu_bg, sigma, *kinetics)
    logs = np.stack([counting.log_likelihood(x, y, theta, emission=emission) for y in range(1, 11)], axis=1)
    return judged_of(logs.argmax(1) + 1, credible_interval(posterior(logs), ALL), YS)


def climbed_from_truth(x, emission):
    """Each trace on its own, its fits begun at the true parameters: what the best optimiser could give."""
    camera, seen = emission == "camera", x.T if emission == "camera" else np.log(x.T)
    bounds = np.array([ranges_of(trace[:, None], camera, False, 15.8 if camera else None) for trace in x])
    logs = []
    for y in range(1, 11):
        model = EmitterModel(camera, False, y, y, float(np.abs(x).max()) / 1024)
        logs.append(fit_alone(seen, x.T, model, Search(bounds, 1, np.array(TRUE[emission])[None]))[1])
    return judged_of(np.argmax(logs, axis=0) + 1, credible_interval(posterior(np.transpose(logs)), ALL), YS)


def accuracy():
    print("exact %, mean error, 90 % interval holds the truth %, flat %; means of five seeds")
    for emission in TRUE:
        rows = {"truth": [], "pooled": [], "alone": [], "alone, begun at the truth": []}
        for seed in range(5):
            x = traces(emission, seed)
            rows["truth"].append(at_the_truth(x, emission))
            for name, pooled in (("pooled", True), ("alone", False)):
                rows[name].append(
                    judged(counting.estimate_y(x, 10, emission=emission, pooled=pooled, camera=READ[emission]))
                )
            rows["alone, begun at the truth"].append(climbed_from_truth(x, emission))
        for name, found in rows.items():
            print(f"{emission:10} {name:26} {np.round(np.mean(found, axis=0), 3)}", flush=True)


def scatter():
    print(
        "brightness scatters by; exact % and error without a factor, with one (scatter estimated); what was estimated"
    )
    for emission in TRUE:
        for width in (0.0, 0.05, 0.1, 0.2):
            without, with_, told = [], [], []
            for seed in range(3):
                x = traces(emission, seed, scatter=width)
                known = {"emission": emission, "camera": READ[emission]}
                without.append(judged(counting.estimate_y(x, 10, brightness_scatter=0.0, **known)))
                found = counting.estimate_y(x, 10, **known)
                with_.append(judged(found))
                told.append(found.scatter)
            print(f"{emission:10} {width:5.0%} {np.round(np.mean(without, 0), 2)} {np.round(np.mean(with_, 0), 2)} "
                  f"{np.mean(told):.3f}", flush=True)  # fmt: skip


def table():
    cases = {f"{n} frames": {"frames": n} for n in (100, 200, 500, 1000, 2000)}
    cases |= {f"brightness × {b}": {"bright": b} for b in (0.25, 0.5, 1, 2)}
    cases |= {
        f"p_on {a}, p_off {b}": {"kinetics": (a, b, 0.0)}
        for a, b in ((0.005, 0.008), (0.02, 0.2), (0.2, 0.05), (0.2, 0.3))
    }
    for emission in TRUE:
        for name, case in cases.items():
            found, best = [], []
            for seed in range(3):
                x = traces(emission, seed, **case)
                best.append(at_the_truth(x, emission, case.get("bright", 1.0), case.get("kinetics", (0.05, 0.08, 0.0))))
                found.append(judged(counting.estimate_y(x, 10, emission=emission, camera=READ[emission])))
            print(
                f"{emission:10} {name:24} pooled {np.round(np.mean(found, 0), 2)} "
                f"truth {np.round(np.mean(best, 0), 2)}",
                flush=True,
            )


def bleaching():
    kinetics = (0.05, 0.08, 0.003)
    for emission in TRUE:
        on, off, best = [], [], []
        for seed in range(3):
            x = traces(emission, seed, kinetics=kinetics)
            known = {"emission": emission, "camera": READ[emission]}
            best.append(at_the_truth(x, emission, kinetics=kinetics))
            on.append(judged(counting.estimate_y(x, 10, bleaching=True, **known)))
            off.append(judged(counting.estimate_y(x, 10, **known)))
        print(f"{emission:10} p_bleach .003: modelled {np.round(np.mean(on, 0), 2)} not {np.round(np.mean(off, 0), 2)} "
              f"truth {np.round(np.mean(best, 0), 2)}", flush=True)  # fmt: skip


def cost():
    for emission in TRUE:
        x = traces(emission, 0)
        for name, settings in {
            "pooled": {},
            "pooled, no factor": {"brightness_scatter": 0.0},
            "alone": {"pooled": False},
        }.items():
            counting.estimate_y(x[:, :60], 10, emission=emission, camera=READ[emission], **settings)
            spent = []
            for _ in range(3):
                began = time.process_time()
                counting.estimate_y(x, 10, emission=emission, camera=READ[emission], **settings)
                spent.append((time.process_time() - began) / len(x))
            print(
                f"{emission} {name}: {np.median(spent):.3f} CPU s a trace (40 traces of 1000 frames, max_y 10)",
                flush=True,
            )
    x = traces("lognormal", 0, ys=np.tile(np.arange(1, 9), 125))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = counting.estimate_y(x, 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exact = 100 * np.mean(found.y == np.tile(np.arange(1, 9), 125))
    spent = (time.process_time() - began) / 1000
    memory = f"{peak / 1024:.0f} MB ({before / 1024:.0f} before)"
    print(f"1000 traces: {spent:.3f} CPU s a trace, exact {exact:.1f} %; {memory}", flush=True)


def online():
    """1000 traces as fast as they go under known parameters; learning, beside a camera of 50 frames a second."""
    n, frames = 1000, 600
    for emission in TRUE:
        x = traces(emission, 0, frames, ys=np.tile(np.arange(1, 9), n // 8))
        spec = Spec((8, 8), "uint16")
        copies = []
        for _ in range(50):
            source = np.random.default_rng(0).integers(0, 9, (512, 512), np.uint16)
            target, began = np.zeros_like(source), time.perf_counter()
            np.copyto(target, source)
            copies.append(time.perf_counter() - began)
        for name, settings in {
            "parameters known": {"update_every": 0, "parameters": TRUE[emission]},
            "learning": {},
        }.items():
            operator = create("count", spec, emission=emission, **settings)
            each = []
            for t in range(frames):
                block, inputs = Block(t, [t], np.zeros((1, 8, 8), np.uint16)), {"photons": x[:, t : t + 1].T}
                began = time.perf_counter()
                operator.update(block, inputs)
                each.append(1e3 * (time.perf_counter() - began))
                if name == "learning":
                    time.sleep(max(0.0, 0.02 - each[-1] / 1e3))
            ms = np.array(each)
            print(f"{emission} {name}: {n} traces, y ≤ 10: median {np.median(ms):.2f}, mean {ms.mean():.2f}, p99 "
                  f"{np.percentile(ms, 99):.1f}, worst {ms.max():.0f} ms a frame; a cold copy of 512×512×u16 "
                  f"{1e3 * np.median(copies):.3f} ms; accepted ≤ 1.2, goal .6", flush=True)  # fmt: skip


if __name__ == "__main__":
    jobs = {f"--{job.__name__}": job for job in (cost, online, accuracy, scatter, table, bleaching)}
    for flag in sys.argv[1:] or ("--cost", "--online"):
        jobs[flag]()
