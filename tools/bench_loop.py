"""A closed loop on one cell's spikes, in simulated two-photon movies: what it hits, what it invents, how late it is.

    python tools/bench_loop.py

Each cell that `extract` finds and accepts, and that is one of the truth's, gets a trigger of its own, refractory for
.5 s, for levels of its rate and of its trace. Of the frames from 300 on: a transient is a run of true spikes without a
pause of .3 s that raises the indicator by at least 3 σ of the cell's trace; it is hit if the trigger fires from its
first spike until .5 s after its last. A firing without a spike in the .5 s before it is a false alarm.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from streamfluo import Chain, open_source
from streamfluo.calcium.extracted_components import ExtractedComponents
from streamfluo.closed_loop.condition import Condition
from streamfluo.closed_loop.condition_nodes import Frames
from streamfluo.core.operator import Gives
from streamfluo.engine.config import parse_config

MOVIE = "sim:calcium?shape=192x192&frames=1800&seed={seed}"
CHAIN = '[[step]]\nkind = "motion"\n[[step]]\nkind = "extract"\n'
CONDITIONS = [f"spikes[0] > {level}" for level in (60, 120, 240)]
CONDITIONS += [f"traces[0] > {level} σ" for level in (3, 5, 8)]
CONDITIONS += ["traces[0] > 3 σ for 2 frames"]
FROM, PAUSE_S, LATE_S, SEEN, SAME = 300, 0.3, 0.5, 3.0, 0.6
GIVES = {name: Gives(name, "by_id", ("t", "id"), unit, "") for name, unit in (("spikes", "σ/s"), ("traces", "σ"))}


def live(seed, names=("spikes", "traces")):
    """Live values of each frame by id, the truth, pairs of (id, true cell), and the frame interval [s]."""
    with open_source(MOVIE.format(seed=seed)) as source:
        chain, truth, interval_s = Chain(parse_config(CHAIN), source.spec), source.truth, source.spec.interval_s
        rows = {name: [] for name in names}
        for block in source.blocks(1):
            out = dict(chain.push(block))["extract"].values
            for name, kept in rows.items():
                kept.append(dict(zip(out["ids"].tolist(), out[name][0].tolist(), strict=True)))
    snapshot = chain.read("extract")
    index, shape = np.arange(source.series.frames or 0), snapshot["background"].shape
    found = ExtractedComponents({}, snapshot, shape, index)
    parts = (truth[f"A_{part}"] for part in ("data", "indices", "indptr"))
    true = scipy.sparse.csc_matrix(tuple(parts), shape=tuple(truth["A_shape"]))
    ours, theirs = (sparse / scipy.sparse.linalg.norm(sparse, axis=0) for sparse in (found.footprints, true))
    overlap = np.asarray((ours.T @ theirs).todense())
    pairs = [
        (int(found.ids[n]), int(row.argmax()))
        for n, row in enumerate(overlap)
        if found.accepted[n] and row.max() > SAME
    ]
    return rows, truth, pairs, interval_s


def fired(text, values, refractory):
    """Frames at which a condition on one cell begins to hold."""
    condition = Condition(text)
    condition.settle({need: GIVES[need] for need in condition.needs})
    inputs = {name: np.array(column, float)[:, None] for name, column in values.items()}
    ids = {f"{name}.ids": np.zeros(1, int) for name in values}
    holds = condition.holds(Frames(0, np.arange(len(inputs["spikes"])) * 10**7, inputs | ids)) == 1
    begins, kept = np.flatnonzero(holds & ~np.concatenate(([False], holds[:-1]))), list[int]()
    for frame in begins.tolist():
        if not kept or frame - kept[-1] >= refractory:
            kept.append(frame)
    return np.array(kept, int)


def transients(spikes, calcium, noise, interval_s):
    """First and last spike of each run of spikes that can be seen."""
    at = np.flatnonzero(spikes)
    if not len(at):
        return []
    cuts = np.flatnonzero(np.diff(at) * interval_s > PAUSE_S) + 1
    runs = [(run[0], run[-1]) for run in np.split(at, cuts)]
    late = round(LATE_S / interval_s)
    return [(a, b) for a, b in runs if calcium[a : b + late].max() - calcium[max(0, a - 1)] > SEEN * noise]


def main():
    totals = {text: [0, 0, 0, []] for text in CONDITIONS}  # hits, transients, false alarms, delays
    cells, lasted_s = 0, 0.0
    for seed in (501, 502, 503):
        rows, truth, pairs, interval_s = live(seed)
        for found, true in pairs:
            values = {name: [row.get(found, np.nan) for row in kept] for name, kept in rows.items()}
            trace = np.array(values["traces"])
            calcium, spikes = truth["C"][true], truth["spikes"][true].copy()
            known = np.isfinite(trace) & (np.arange(len(trace)) >= FROM)
            scale = np.polyfit(calcium[known], trace[known], 1)[0]  # σ of the cell's trace per unit of true calcium
            noise = 1 / scale if scale > 0 else np.inf
            spikes[:FROM] = 0
            events = transients(spikes, calcium, noise, interval_s)
            cells, lasted_s = cells + 1, lasted_s + known.sum() * interval_s
            every = np.flatnonzero(truth["spikes"][true])
            for text, (_, _, _, delays) in totals.items():
                at = fired(text, values, round(LATE_S / interval_s))
                at = at[at >= FROM]
                late = round(LATE_S / interval_s)
                hits = [at[(at >= a) & (at <= b + late)] for a, b in events]
                delays += [int(hit[0] - a) for hit, (a, _) in zip(hits, events, strict=True) if len(hit)]
                totals[text][0] += sum(len(hit) > 0 for hit in hits)
                totals[text][1] += len(events)
                totals[text][2] += sum(not ((every >= frame - late) & (every <= frame)).any() for frame in at)
    print(f"{cells} cells of three movies, {lasted_s / 60:.0f} minutes of cells")
    print("condition                              hit     of   false a minute   delay in frames: median, 90 %")
    for text, (hits, events, false, delays) in totals.items():
        spread = np.percentile(delays, (50, 90)) if delays else (np.nan, np.nan)
        print(
            f"{text:36} {hits / max(1, events):6.1%} {events:6} {false / lasted_s * 60:10.2f} "
            f"{spread[0]:20.0f} {spread[1]:6.0f}"
        )


if __name__ == "__main__":
    main()
