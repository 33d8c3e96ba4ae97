"""Shared pulses: a minute of pulses on two clocks, how well the one is known by the other, and what is never guessed.

    python tools/bench_pulses.py [first seed]

50 ppm of drift, 1 ms of jitter, 2 % of the pulses missing on either side and 2 % of nobody; sixty seeds a line. The
error is the largest of all pulses. `bound` is what no unbiased estimator falls below (Cramér–Rao, Gaussian jitter): the
standard error at the outermost pulse, and in how many of sixty the largest error is within .2 ms at it.
"""

import sys

import numpy as np

from streamfluo.session.pulses import match_pulses, pulse_clock

DRIFT, JITTER_NS, MISSING, OFFSET_NS, SEEDS = 50e-6, 1e6, 0.02, 7_250_000_000, 60
UNEVEN = {"30 Hz": (1800, 0.017, 0.05), "10 Hz": (600, 0.05, 0.15), "1 Hz": (60, 0.5, 1.5)}
EVEN = {"even, 10 Hz": (600, 0.1, 0.1), "even, 1 Hz": (60, 1.0, 1.0), "within 1 %, 10 Hz": (600, 0.0995, 0.1005)}


def recorded(rng, at_s, rate):
    """Times of pulses [ns] as one clock recorded them, and which each one is, -1 of nobody."""
    kept = np.flatnonzero(rng.random(len(at_s)) >= MISSING)
    strays = rng.uniform(at_s[0], at_s[-1], rng.poisson(MISSING * len(at_s)))
    at = np.append(at_s[kept], strays) * 1e9 * rate
    order = np.argsort(at)
    return np.rint(at[order]).astype(np.int64), np.append(kept, np.full(len(strays), -1))[order]


def one(seed, count, low_s, high_s):
    """The largest error [ms], that at the outermost pulse, the one stated, the bound there, the part of the pairs that
    are right; None where undetermined."""
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.uniform(low_s, high_s, count))
    ours, ours_are = recorded(rng, at_s, 1.0)
    theirs, theirs_are = recorded(rng, at_s, 1 + DRIFT)
    theirs, ours = theirs + OFFSET_NS, ours + np.rint(rng.normal(0, JITTER_NS, len(ours))).astype(np.int64)
    order = np.argsort(ours)
    ours, ours_are = ours[order], ours_are[order]
    match = match_pulses(ours, theirs)
    if match.undetermined:
        return None
    clock = pulse_clock(ours, theirs, match)
    exact = (ours * (1 + DRIFT)) + OFFSET_NS
    right = (ours_are[match.ours] == theirs_are[match.theirs]).mean()
    error_ms = (clock.theirs(ours) - exact) / 1e6
    common = ours[np.isin(ours_are, theirs_are[theirs_are >= 0])]
    away = ours - common.mean()
    outermost = np.argmax(np.abs(away))
    bound_ms = (
        JITTER_NS / 1e6 * np.hypot(1 / np.sqrt(len(common)), away[outermost] / np.sqrt(common.var() * len(common)))
    )
    return np.abs(error_ms).max(), error_ms[outermost], clock.error_ns / 1e6, bound_ms, right


def within_at_the_bound(count):
    """In how many of SEEDS the largest error of a line through so many times is within .2 ms, at the bound."""
    middle, end = np.random.default_rng(0).normal(size=(2, 1_000_000)) * JITTER_NS / 1e6 / np.sqrt(count)
    return SEEDS * np.mean(np.abs(middle) + np.sqrt(3) * np.abs(end) <= 0.2)


def main(first):
    for name, (count, low_s, high_s) in (UNEVEN | EVEN).items():
        found = [one(seed, count, low_s, high_s) for seed in range(first, first + SEEDS)]
        known = np.array([each for each in found if each is not None])
        line = f"{name}: undetermined {len(found) - len(known)} of {len(found)}"
        if len(known):
            error, outermost, stated, bound, right = known.T
            at = np.percentile(error, [50, 95, 100])
            line += f"; error {at[0]:.3f}, {at[1]:.3f}, {at[2]:.3f} ms (median, 95 %, largest), "
            line += f"{(error <= 0.2).sum()} within .2 ms; stated {stated.mean():.3f}; pairs right {right.min():.3f}; "
            rms = np.sqrt((outermost**2).mean()), np.sqrt((bound**2).mean())
            line += (
                f"at the outermost {rms[0]:.4f} rms, bound {rms[1]:.4f}, {within_at_the_bound(count * 0.96):.1f} within"
            )
        print(line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 81_000)
