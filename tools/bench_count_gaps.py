"""Counting where its model does not hold, and where fits must reach the truth: exact, intervals, doubtful.

    python tools/bench_count_gaps.py --gaps             # model gaps, one seed: 36 lines of 8 to 30 CPU s each
    python tools/bench_count_gaps.py --kinetics         # k_on, k_off of .01 … .4, and the true parameters: 50 lines
    python tools/bench_count_gaps.py --gaps 100 5 dark  # first seed, number of seeds, part of the name

Traces: 1 … 5 emitters, four of each, 800 frames, up to 10 candidates; `streamfluo.simulate.emitter_traces`.
"""

import logging
import sys
import time
from itertools import product

import numpy as np

from streamfluo import counting
from streamfluo.simulate import Dyes, Light, emitter_traces

EMITTERS, FRAMES, MOST = np.repeat(np.arange(1, 6), 4), 800, 10
LIGHT = {"camera": Light(400, 500, 15), "lognormal": Light(400, 500, 0.05, "lognormal")}
FAST = Dyes(0.1, 0.33, substeps=20)
GAPS = {
    "clean": (Dyes(), {}),
    "clean, slow": (Dyes(0.01, 0.03), {}),
    "clean, mostly on": (Dyes(0.1, 0.03), {}),
    "exposed, 12 frames on": (Dyes(substeps=20), {}),
    "exposed, 3 frames on": (FAST, {}),
    "exposed, 2 frames on": (FAST._replace(k_off=0.5), {}),
    "exposed, 1 frame on": (FAST._replace(k_off=1.0), {}),
    "dyes differ 20 %": (Dyes(dye_sd=0.2), {}),
    "two kinds, half as bright": (Dyes(dim_share=0.5), {}),
    "crosstalk 15 %": (Dyes(), {"crosstalk": 0.15}),
    "dark state": (Dyes(k_dark=0.01, k_back=0.01), {}),
    "dark state, short": (Dyes(k_dark=0.03, k_back=0.02), {}),
    "illumination −20 %": (Dyes(), {"illumination_loss": 0.2}),
    "background +20 %": (Dyes(), {"background_drift": 0.2}),
    "k_on ±50 % of dyes": (Dyes(on_sd=0.5), {}),
    "k_on ±50 % of spots": (Dyes(spot_on_sd=0.5), {}),
    "seldom on, k_on ±50 % of dyes": (Dyes(0.02, 0.2, on_sd=0.5), {}),
    "seldom on, k_on ±50 % of spots": (Dyes(0.02, 0.2, spot_on_sd=0.5), {}),
}


def scores(found, truth):
    """Return exact, coverage, doubtful, wrong that are doubtful or flat, coverage or doubtful (%), mean error."""
    low, high = found.credible_interval.T
    wrong, held = found.y != truth, (low <= truth) & (truth <= high)
    told = found.doubtful | found.flat
    caught = 100 * np.mean(told[wrong]) if wrong.any() else np.nan
    return [*(100 * np.array([np.mean(~wrong), held.mean(), np.mean(found.doubtful), np.mean(found.flat)])), caught,
            np.mean(found.y - truth)]  # fmt: skip


def gaps(first=100, seeds=1, only="", **options):
    print("exact %, 90 % interval holds %, doubtful %, flat %, of the wrong doubtful or flat %, mean error; CPU s")
    for emission, light in LIGHT.items():
        for name, (dyes, drift) in GAPS.items():
            if only not in name:
                continue
            rows, began = [], time.process_time()
            for seed in range(first, first + seeds):
                x, _ = emitter_traces(EMITTERS, FRAMES, dyes, light._replace(**drift), seed)
                rows.append(scores(counting.estimate_y(x, MOST, emission=emission, threads=1, **options), EMITTERS))
            spent = (time.process_time() - began) / seeds
            print(f"{emission:10} {name:26} {np.round(np.nanmean(rows, 0), 1)} {spent:.1f}", flush=True)


def kinetics(first=100, seeds=1, only=""):
    print("exact % under the true parameters; of the fit: exact %, interval holds %, doubtful %, flat %, …; CPU s")
    rates = (0.01, 0.03, 0.1, 0.2, 0.4)
    for (emission, light), k_on, k_off in product(LIGHT.items(), rates, rates):
        if only not in f"{emission} {k_on}/{k_off}":
            continue
        rows, began = [], time.process_time()
        for seed in range(first, first + seeds):
            x, _ = emitter_traces(EMITTERS, FRAMES, Dyes(k_on, k_off), light, seed)
            theta = counting.Parameters(light.mu, light.mu_bg, light.sigma, k_on, k_off)
            logs = [counting.log_likelihood(x, y, theta, emission=emission) for y in range(1, MOST + 1)]
            known = 1 + np.argmax(logs, axis=0)
            found = counting.estimate_y(x, MOST, emission=emission, threads=1)
            rows.append([100 * np.mean(known == EMITTERS), *scores(found, EMITTERS)])
        spent = (time.process_time() - began) / seeds
        print(f"{emission:10} {k_on}/{k_off} {np.round(np.nanmean(rows, 0), 1)} {spent:.1f}", flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    numbers = [int(a) for a in sys.argv[2:4]]
    jobs = {f"--{job.__name__}": job for job in (gaps, kinetics)}
    jobs[sys.argv[1] if len(sys.argv) > 1 else "--gaps"](*numbers, *sys.argv[4:5])
