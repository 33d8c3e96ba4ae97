"""Simulated fields whose truth is known, for tools/bench_extract.py --fields, and their scores."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from streamfluo import Block, Chain, Spec
from streamfluo.calcium.extracted_components import ExtractedComponents
from streamfluo.engine.config import parse_config
from streamfluo.simulate import calcium

FRAMES, RATE_HZ, SIGMA_PX = 1500, 15.0, 3.0
COMMON = {
    "shape": (128, 128), "motion_px": 0.0, "neuron_sigma_px": SIGMA_PX, "frame_rate_hz": RATE_HZ, "decay_s": 0.5,
    "neurons": 45, "size_spread": 0.15, "rings": 0.3, "photons": 20.0, "bursts": 0.3, "spike_rate_hz": 0.2,
    "neuropil_follows": 0.3, "signal": 0.3, "bleach_fraction": 0.05,
}  # fmt: skip
FIELDS: dict[str, dict[str, float]] = {
    "base": {},
    "dense": {"neurons": 140},
    "bright": {"neurons": 140, "photons": 300.0},
    "dim": {"neurons": 140, "photons": 4.0},
    "neuropil.8": {"neuropil_follows": 0.8},
    "neuropil1": {"neuropil_follows": 1.0, "saturation": 0.1},
    "large": {"neuron_sigma_px": 4.5, "neurons": 25, "neuropil_follows": 0.5},
    "processes": {"processes": 20},
    "drifting": {"neuropil_follows": 0.8, "z_drift": 0.5, "bleach_fraction": 0.4, "bleach_s": 40.0},
    "empty": {"neurons": 0, "neuropil_follows": 1.0, "neuropil": 0.2},
    "moving": {"motion_px": 1.5, "line_motion_px": 0.1},
}
STILL = (
    '[[step]]\nkind = "extract"\nparams = {{ neuron_sigma_px = {sigma}, decay_s = 0.5, background = "{background}", '
    'accept = "{accept}" }}'
)
MOVING = '[[step]]\nkind = "motion"\nparams = {{ max_shift_px = 8 }}\n'
CENTRE_PX, COSINE = 4.0, 0.5  # what counts as found: its centre is near and its image alike


@dataclass
class Scores:
    """Of one field: true cells that can be seen, found among all accepted, duplicates, processes, false, traces."""

    true: int
    accepted: int
    found: int
    duplicates: int
    processes: int
    traces: float

    @property
    def recall(self) -> float:
        return self.found / max(self.true, 1)

    @property
    def precision(self) -> float:
        """Found of the accepted, processes left out; 1 without any."""
        counted = self.accepted - self.processes
        return self.found / counted if counted else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.recall * self.precision / max(self.recall + self.precision, 1e-9)


def render(name: str, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a field's movie (t, y, x) uint16 and its truth."""
    return calcium(frames=FRAMES, seed=seed, **{**COMMON, **FIELDS[name]})


def extract(
    movie: np.ndarray, name: str, background: str, accept: str = "rule"
) -> tuple[ExtractedComponents | None, np.ndarray]:
    """Run a movie through `extract`; return its components and the median shift (2,) [px] of motion correction."""
    config = STILL.format(sigma=FIELDS[name].get("neuron_sigma_px", SIGMA_PX), background=background, accept=accept)
    if "motion_px" in FIELDS[name]:
        config = MOVING.format() + config
    chain = Chain(parse_config(config), Spec(movie.shape[1:], movie.dtype, interval_s=1 / RATE_HZ))
    shifts, settled = [], []
    for n in range(len(movie)):
        for step, output in chain.push(Block(n, np.array([n]), movie[n : n + 1])):
            if step == "motion":
                shifts.extend(output.values["shift_px"])
            else:
                settled.append(dict(output.values["settled"]))
    settled += [dict(output.values["settled"]) for step, output in chain.finish() if step == "extract"]
    table = {key: np.concatenate([rows[key] for rows in settled]) for key in settled[0]}
    snapshot = chain.read("extract", ["footprints", "quality_now"])
    cells = ExtractedComponents({"settled": table}, snapshot, movie.shape[1:], np.arange(len(movie)))
    return cells, np.array(shifts)


def score(cells: ExtractedComponents, shifts: np.ndarray, truth: dict[str, np.ndarray]) -> Scores:
    """Compare the accepted components with the truth."""
    kept = np.flatnonzero(cells.accepted)
    shape = cells.shape
    true = _images(truth, "A", shape)
    if len(shifts):
        offset = np.rint(np.median(truth["shift_px"][200:] - shifts[200:], 0)).astype(int)
        true = np.roll(true, offset, (1, 2))
    found = np.asarray(cells.footprints.todense(), float).T.reshape(-1, *shape)[kept]
    alike = _cosines(true, found) * (_distances(true, found) < CENTRE_PX)
    seen = (truth["spikes"][:, :-20] > 0).sum(1) >= 3
    rows, columns = linear_sum_assignment(-alike)
    pairs = [(t, c) for t, c in zip(rows, columns, strict=True) if alike[t, c] >= COSINE]
    rest = sorted(set(range(len(kept))) - {c for _, c in pairs})
    again = [c for c in rest if alike[:, c].max(initial=0) >= COSINE or _inside(true, found[c])]
    others = sorted(set(rest) - set(again))
    lines = _images(truth, "P", shape) if "P_data" in truth else np.zeros((0, *shape))
    processes = sum(_inside(lines, found[c]) for c in others)
    correlation = []
    for t, c in pairs:
        k, start = kept[c], max(200, cells.birth_frame[kept[c]])
        if cells.traces[k, start:].any():
            correlation.append(np.corrcoef(truth["C"][t, start:], cells.traces[k, start:])[0, 1])
    visible = int(seen.sum() + sum(not seen[t] for t, _ in pairs))
    median = float(np.median(correlation)) if correlation else float("nan")
    return Scores(visible, len(kept), len(pairs), len(again), processes, median)


def _images(truth: dict[str, np.ndarray], name: str, shape: tuple[int, int]) -> np.ndarray:
    parts = (truth[f"{name}_data"], truth[f"{name}_indices"], truth[f"{name}_indptr"])
    return sp.csc_matrix(parts, shape=tuple(truth[f"{name}_shape"])).toarray().T.reshape(-1, *shape).astype(float)


def _cosines(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    a, b = (images.reshape(len(images), np.prod(images.shape[1:])) for images in (true, found))
    norms = np.sqrt((a**2).sum(1))[:, None] * np.sqrt((b**2).sum(1))
    return a @ b.T / np.maximum(norms, 1e-12)


def _distances(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    centres = []
    for images in (true, found):
        yy, xx = np.mgrid[: images.shape[1], : images.shape[2]]
        weight = np.maximum(images.sum((1, 2)), 1e-12)
        centres.append(np.stack(((images * yy).sum((1, 2)), (images * xx).sum((1, 2))), 1) / weight[:, None])
    return np.hypot(*(centres[0][:, None] - centres[1]).T).T


def _inside(true: np.ndarray, image: np.ndarray) -> bool:
    """Whether 60 % of an image's mask lie in the mask of one true image."""
    mask = image > 0.2 * image.max()
    masks = true > 0.2 * true.max((1, 2), keepdims=True, initial=1e-12)
    return float((masks & mask).sum((1, 2)).max(initial=0) / mask.sum()) > 0.6
