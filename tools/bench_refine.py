"""`streamfluo refine` against the run that it refines, on semi-real movies and on simulated fields.

    python tools/bench_refine.py --movies abc            semi-real movies, rendered as in tools/bench_motion.py
    python tools/bench_refine.py --fields base dense neuropil.8 --seeds 41 42    fields of tools/fields.py

Each movie is run through a chain into a session, which is then refined; both are scored alike. `from 200`: traces and
rates are scored from frame 200 on, zeros before a component's birth; `from birth`: each from its birth on.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import fields
import numpy as np
import tifffile
from bench_extract import INTERVAL_S, scorer
from bench_motion import CACHE, movie

from streamfluo import open_session, open_source
from streamfluo.engine.config import load_config, parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.refined_session import refine_session

CONFIG = Path(__file__).parents[1] / "configs" / "calcium_2p.toml"


def run(config, tiff: Path, out: Path) -> float:
    """Run a movie into a session; return the processor time [s]."""
    began = time.process_time()
    with open_source(tiff) as source:
        engine = Engine(source, config, out)
        engine.start()
        while not engine.wait(0.5):
            pass
        assert engine.error is None, engine.error
    return time.process_time() - began


def refine(session: Path, passes: int) -> tuple[Path, float, str]:
    """Refine a session; return where that is, the processor time [s], and how fast the movie went through."""
    out = session.with_name(f"{session.name}-refined")
    began = time.process_time()
    outcome = refine_session(session, out, passes, lambda *_: None)[0]
    taken = outcome.passes
    rate = f"{taken.mb_per_s:.0f} MB/s over all passes, reading alone {taken.read_mb_per_s:.0f}"
    return out, time.process_time() - began, rate


def semireal(name: str, seed: int, passes: int, folder: Path) -> None:
    """Print the scores of a semi-real movie."""
    frames, _ = movie(name, seed)
    first = folder / f"{name}-{seed}"
    config = load_config(CONFIG, [f"source.interval_s={INTERVAL_S}"])
    cpu_s = run(config, CACHE / f"{name}-{seed}.tif", first)
    second, refined_s, rate = refine(first, passes)
    for label, path, spent in (("online", first, cpu_s), ("refined", second, refined_s)):
        session = open_session(path)
        cells, shifts = session.components(), session.values("motion")["shift_px"]
        kept = cells.accepted
        truth = CACHE / f"{name}-{seed}_truth.npz"
        given = truth, cells.footprints[:, kept], cells.traces[kept], cells.spikes[kept], shifts
        birth, whole = scorer()(*given, cells.birth_frame[kept]), scorer()(*given)
        print(
            f"{name} {seed} {label:8} F1 {birth['f1']:.3f} (P {birth['precision']:.3f}, R {birth['recall']:.3f}, "
            f"visible {birth['recall_visible']:.3f}); from birth: traces {birth['trace_corr_median_visible']:.3f} p10 "
            f"{birth['trace_corr_p10_visible']:.3f}, spikes {birth['spike_corr_3_frames_visible']:.3f}; from 200: "
            f"{whole['trace_corr_median_visible']:.3f} p10 {whole['trace_corr_p10_visible']:.3f}, all "
            f"{whole['trace_corr_median']:.3f} p10 {whole['trace_corr_p10']:.3f}, spikes "
            f"{whole['spike_corr_3_frames_visible']:.3f}; CPU {1e3 * spent / len(frames):.2f} ms a frame",
            flush=True,
        )
    print(f"    {rate}", flush=True)


def field(name: str, seed: int, args: argparse.Namespace, folder: Path) -> None:
    """Print the scores of a simulated field, of its first `frames` alone."""
    pixels, truth = fields.render(name, seed)
    pixels, passes = pixels[: args.frames], args.passes
    truth |= {key: truth[key][:, : args.frames] for key in ("C", "spikes")}
    truth["shift_px"] = truth["shift_px"][: args.frames]
    tiff, first = folder / f"{name}-{seed}.tif", folder / f"{name}-{seed}"
    tifffile.imwrite(tiff, pixels, photometric="minisblack")
    sigma = fields.FIELDS[name].get("neuron_sigma_px", fields.SIGMA_PX)
    text = fields.STILL.format(sigma=sigma, background="ring", accept=args.accept)
    if "motion_px" in fields.FIELDS[name]:
        text = fields.MOVING.format() + text
    config = parse_config(f"[source]\ninterval_s = {1 / fields.RATE_HZ}\n{text}")
    cpu_s = run(config, tiff, first)
    second, refined_s, rate = refine(first, passes)
    for label, path, spent in (("online", first, cpu_s), ("refined", second, refined_s)):
        session = open_session(path)
        shifts = session.values("motion")["shift_px"] if "motion" in session.steps else np.empty(0)
        cells = session.components()
        one = fields.score(cells, shifts, truth)
        rates, late = rate_correlations(cells, shifts, truth)
        print(
            f"{name} {seed} {label:8} F1 {one.f1:.3f} (P {one.precision:.3f}, R {one.recall:.3f}), accepted "
            f"{one.accepted}, duplicates {one.duplicates}, processes {one.processes}; traces from birth "
            f"{one.traces:.3f}, from 0 {late:.3f}; rates {rates:.3f}; CPU {1e3 * spent / len(pixels):.2f} ms a frame",
            flush=True,
        )
    print(f"    {rate}", flush=True)


def rate_correlations(cells, shifts: np.ndarray, truth: dict[str, np.ndarray]) -> tuple[float, float]:
    """Median correlation of rates with true spikes in bins of 3 frames, and of traces, both from frame 0 on."""
    kept = np.flatnonzero(cells.accepted)
    true = fields._images(truth, "A", cells.shape)
    if len(shifts):
        true = np.roll(true, np.rint(np.median(truth["shift_px"][200:] - shifts[200:], 0)).astype(int), (1, 2))
    found = np.asarray(cells.footprints.todense(), float).T.reshape(-1, *cells.shape)[kept]
    if not len(found) or not len(true):
        return np.nan, np.nan
    alike = fields._cosines(true, found)
    rates, traces = [], []
    for c, t in enumerate(alike.argmax(0)):
        if alike[t, c] >= fields.COSINE and truth["spikes"][t].any():
            bins = [
                np.asarray(x)[: len(x) // 3 * 3].reshape(-1, 3).sum(1)
                for x in (truth["spikes"][t], cells.spikes[kept[c]])
            ]
            rates.append(np.corrcoef(*bins)[0, 1])
            traces.append(np.corrcoef(truth["C"][t], cells.traces[kept[c]])[0, 1])
    return float(np.nanmedian(rates)), float(np.nanmedian(traces))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--movies", default="")
    parser.add_argument("--fields", nargs="*", default=[], choices=list(fields.FIELDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--frames", type=int, default=fields.FRAMES, help="of simulated fields")
    parser.add_argument("--accept", default="rule", choices=["rule", "learned"], help="in simulated fields")
    parser.add_argument("--keep", type=Path, help="folder to leave the sessions in")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="streamfluo-refine-"))
    folder.mkdir(exist_ok=True)
    try:
        for seed in args.seeds:
            for name in args.movies:
                semireal(name, seed, args.passes, folder)
            for name in args.fields:
                field(name, seed, args, folder)
    finally:
        if args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
