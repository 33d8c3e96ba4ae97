"""`moments` in blocks of 32 frames of 512×512×u16 against one cold memory copy of the block; `summary` against rfft2.

python tools/bench_moments.py                `moments`
python tools/bench_moments.py --summary      `summary`, a frame, in one rfft2 of a 512×512 float32 frame
python tools/bench_moments.py --semireal     how far its peak-to-noise is from medians', on semi-real movies
"""

import argparse
import sys
import time

import numpy as np
import scipy.fft
from bench import SPEC, cost_in_copies, show
from bench_motion import DATA

from streamfluo import Block, create
from streamfluo.analysis import peak_to_noise

SEED = 7701


def summary() -> None:
    """Processor time of a frame, in blocks of 32 and one by one, of integers, floats, floats with an unseen rim."""
    pixels = np.random.default_rng(0).poisson(100, (64, 512, 512))
    for name, dtype, rim_px in (("uint16", "uint16", 0), ("float32", "float32", 0), ("with a rim", "float32", 5)):
        frames = pixels.astype(dtype)
        if rim_px:
            frames[::2, :, -rim_px:] = frames[:, :4] = np.nan
        for size in (32, 1):
            operator, index, ratios = create("summary", SPEC.with_(dtype=dtype)), 0, []
            for _ in range(9):
                began = time.process_time()
                for _ in range(32):
                    scipy.fft.rfft2(pixels[0].astype(np.float32))
                one, began = (time.process_time() - began) / 32, time.process_time()
                for start in range(0, 64, size):
                    operator.update(Block(index, np.arange(size), frames[start : start + size]))
                    index += size
                operator.reader()  # waits for what is done behind
                ratios.append((time.process_time() - began) / 64 / one)
            show(f"summary, {name}, blocks of {size}, in rfft2 ({1e3 * one:.2f} ms)", ratios, "1", "well below 1")


def semireal() -> None:
    """Noise by the mean absolute difference and peak over the mean, beside those by medians."""
    sys.path.insert(0, str(DATA / "semireal"))
    from make import movie

    for photons, moving in ((20, False), (20, True), (4, False)):
        frames = movie(170, 1500, photons, SEED, motion=moving)[0][:, 40:130, 40:130].astype(np.float32)
        rise = frames.max(0) - np.median(frames, 0)
        noise = np.median(np.abs(np.diff(frames, axis=0)), 0) / (0.6745 * np.sqrt(2))
        found = peak_to_noise(frames)
        medians = rise / noise
        ranks = [image.argsort(None).argsort() for image in (found, medians)]
        low, middle, high = np.percentile(found / medians, (1, 50, 99))
        correlations = np.corrcoef(found.flat, medians.flat)[0, 1], np.corrcoef(*ranks)[0, 1]
        print(
            f"{photons} photons, {'moving' if moving else 'still'}, seed {SEED}: median {middle:.3f}, 1 % {low:.3f}, "
            f"99 % {high:.3f} of that by medians; correlation {correlations[0]:.4f}, of ranks {correlations[1]:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--semireal", action="store_true")
    asked = parser.parse_args()
    if asked.summary:
        summary()
    if asked.semireal:
        semireal()
    if not (asked.summary or asked.semireal):
        ratios = cost_in_copies(create("moments", SPEC))
        show("moments, blocks of 32, in copies of the block", ratios[32], "≤ 4", "≤ 2")
        show("moments, blocks of 1, in copies of the block", ratios[1], "–", "–")


if __name__ == "__main__":
    main()
