"""What `advise` measures of simulations and recordings, and what a run with its config finds.

    python tools/bench_advise.py                        twelve simulations: size, decay, motion over the truth; F1
    python tools/bench_advise.py --names k3 o2          some of them
    python tools/bench_advise.py --recordings           those in ../shared/data or $STREAMFLUO_DATA: all findings

F1 is that of tools/fields.py, of one-photon movies that of semireal/score.py; `stated` is the run with the simulated
size and decay time.
"""

import argparse
import os
import tempfile
from pathlib import Path

import bench_onephoton
import fields
import numpy as np
from bench_extract import INTERVAL_S, scorer

from streamfluo import Block, Chain, Spec, open_source
from streamfluo.advise.advise import Advice, advise
from streamfluo.calcium.extracted_components import ExtractedComponents
from streamfluo.engine.config import parse_config
from streamfluo.simulate import calcium

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[2] / "shared" / "data"))
FRAMES, WIDTH_SIGMA = 1200, 3.07  # a simulated body is 3.07 sigma wide at half its maximum
NAMES = (
    "seed", "shape", "neuron_sigma_px", "decay_s", "frame_rate_hz", "photons", "motion_px"
)  # fmt: skip
TWO_PHOTON = {
    "k1": (27101, (160, 160), 2.0, 0.6, 15, 20, 0.3, {"size_spread": 0.15, "rings": 0.3, "neuropil_follows": 0.5}),
    "k2": (27102, (150, 200), 2.7, 0.25, 60, 30, 1.5, {"neuropil": 0.25}),
    "k3": (27103, (180, 180), 5.2, 1.4, 8, 10, 5, {"size_spread": 0.15, "neuropil_follows": 0.5, "rise_s": 0.1}),
    "k4": (27104, (170, 150), 4.0, 0.8, 12, 2, 0.9, {"bursts": 0.3}),
    "k5": (27105, (160, 160), 3.4, 0.45, 20, 50, 3.5, {"rings": 0.5, "processes": 15, "neuropil_follows": 0.6}),
    "k6": (27106, (160, 160), 3.7, 1.1, 40, 5, 2.2, {"spike_rate_hz": 0.15, "signal": 0.4}),
    "k7": (27107, (128, 160), 2.4, 0.7, 10, 25, 0.4, {
        "neuropil_follows": 1.0, "saturation": 0.1, "bleach_fraction": 0.4, "bleach_s": 60,
    }),
    "k8": (27108, (170, 170), 4.7, 0.4, 30, 3, 3, {"neuropil": 0.3, "size_spread": 0.2}),
    "k9": (27109, (160, 160), 3.0, 1.0, 25, 12, 0.8, {"neurons": 25, "line_motion_px": 0.1}),
}  # fmt: skip
ONE_PHOTON = {"o1": (27111, 25, 3), "o2": (27112, 60, 0), "o3": (27113, 100, 5)}  # seed, clouds in %, shake in px
STATED = (
    '[[step]]\nkind = "motion"\nparams = {{ max_shift_px = 15{highpass} }}\n'
    '[[step]]\nkind = "extract"\nparams = {{ neuron_sigma_px = {sigma}, decay_s = {decay} }}\n'
)
RECORDINGS = (
    ("mesoscope/mouse_160x160x1000.tif", 1 / 15), ("thunder_mouse/thunder_mouse_500x64x64_int16.tif", None),
    ("scmos/storm_scmos_11x256x256.tif", None), ("blinking/deconSTORM_microtubuledata.mat", None),
    ("single_molecule/pMHC_AF647_10x128x128.tif", None), ("picasso/picasso_test.raw?dtype=uint16&shape=32x32", None),
    ("formats/volume_tzyx_u8.tif", None), ("formats/12_bit_pycromanager_mda", None),
    ("formats/ndtiff3.2_monochrome", None), ("formats/ndtiff3.2_11bit_1", None),
)  # fmt: skip


def advice_on(movie: np.ndarray, interval_s: float) -> Advice:
    """Return the advice on a movie (t, y, x) as a file, whose interval is stated."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "movie.npy", movie)
        with open_source(Path(folder) / "movie.npy") as source:
            return advise(source, source.spec.with_(interval_s=interval_s))


def run(movie: np.ndarray, config: str, interval_s: float) -> tuple[ExtractedComponents, np.ndarray]:
    """Run a movie through a config; return its components and the shifts (t, 2), none without motion correction."""
    chain = Chain(parse_config(config), Spec(movie.shape[1:], movie.dtype, interval_s=interval_s))
    shifts, settled, outputs = [], [], []
    for n in range(0, len(movie), 32):
        part = movie[n : n + 32]
        outputs += chain.push(Block(n, np.arange(n, n + len(part)), part))
    for step, output in [*outputs, *chain.finish()]:
        if step == "extract":
            settled.append(dict(output.values["settled"]))
        elif "shift_px" in output.values:
            shifts.extend(output.values["shift_px"])
    table = {key: np.concatenate([rows[key] for rows in settled]) for key in settled[0]}
    snapshot = chain.read("extract", ["footprints", "quality_now"])
    return ExtractedComponents({"settled": table}, snapshot, movie.shape[1:], np.arange(len(movie))), np.array(shifts)


def one_photon_f1(cells: ExtractedComponents, shifts: np.ndarray, truth: dict[str, np.ndarray]) -> float:
    """F1 of the accepted components, by semireal/score.py."""
    kept = cells.accepted
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file.name, **truth)
        of = (cells.footprints[:, kept], cells.traces[kept], cells.spikes[kept], shifts if len(shifts) else None)
        return float(scorer()(file.name, *of, cells.birth_frame[kept])["f1"])


def measure(name: str) -> None:
    """Print what is measured of a simulation over its truth, and F1 with both configs."""
    if name in ONE_PHOTON:
        seed, clouds, shake = ONE_PHOTON[name]
        movie, truth = bench_onephoton.render(seed, float(clouds), shake)
        sigma, interval_s, decay = 2 * bench_onephoton.SIGMA_PX, INTERVAL_S, 0.4
        width = 2.355 * bench_onephoton.SIGMA_PX
    else:
        *values, more = TWO_PHOTON[name]
        params = dict(zip(NAMES, values, strict=True)) | more
        movie, truth = calcium(frames=FRAMES, **params)
        sigma, interval_s, decay = params["neuron_sigma_px"], 1 / params["frame_rate_hz"], params["decay_s"]
        width = WIDTH_SIGMA * sigma
    found, moved = advice_on(movie, interval_s), float(np.sqrt((truth["shift_px"].std(0) ** 2).mean()))
    said = []
    for what, true in (("cell size", width), ("decay time", decay), ("motion", moved)):
        finding = found[what]
        ratio = f"{finding.value / true:.2f} of {true:.3g}" if true else f"{finding.value:.2f} of 0"
        said.append(f"{what} {ratio if finding.known else 'undetermined: ' + finding.sentence}")
    shaken = name not in ONE_PHOTON or ONE_PHOTON[name][2]
    stated = STATED.format(sigma=sigma, decay=decay, highpass=", highpass_sigma_px = 5" if name in ONE_PHOTON else "")
    stated = stated if shaken else stated[stated.index("[[step]]", 8) :]
    scores = []
    for config in (found.config, stated):
        cells, shifts = run(movie, config, interval_s)
        score = one_photon_f1 if name in ONE_PHOTON else lambda *of: fields.score(*of).f1
        scores.append(score(cells, shifts, truth) if cells.accepted.any() else 0.0)
    print(f"{name}: {found.job.kind}; {'; '.join(said)}; F1 {scores[0]:.3f}, stated {scores[1]:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", nargs="+", default=[*TWO_PHOTON, *ONE_PHOTON])
    parser.add_argument("--recordings", action="store_true")
    args = parser.parse_args()
    for path, interval_s in RECORDINGS if args.recordings else ():
        print(f"== {path}")
        with open_source(f"{DATA / path}", planes=True) as source:
            spec = source.spec if interval_s is None else source.spec.with_(interval_s=interval_s)
            for finding in advise(source, spec).findings:
                print(f"  {finding.name}: {'' if finding.known else 'undetermined: '}{finding.sentence}")
    for name in () if args.recordings else args.names:
        measure(name)


if __name__ == "__main__":
    main()
