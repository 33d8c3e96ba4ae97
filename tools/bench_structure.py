"""How well cells of a structural channel are marked: true, false and missed marks of simulated two-channel recordings.

`python tools/bench_structure.py --seeds 101 102 103`: motion measured on red, applied to green, cells found in green
and compared with the running mean of red, live. Labels of 30 % of the cells; the red channel shows part of the
indicator's light, the labels are dim, nobody or everybody has one, or green shows the label. `--picture FILE` draws the
first seed's field.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse

from streamfluo import open_session, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

CONFIG = """
[[step]]
kind = "motion"
planes = ["red"]
[[step]]
id = "label"
kind = "moments"
planes = ["red"]
[[step]]
id = "apply"
kind = "motion"
planes = ["green"]
inputs = { shift_px = "red/motion.shift_px", valid = "red/motion.valid" }
params = { mode = "apply" }
[[step]]
kind = "extract"
planes = ["green"]
inputs = { structure = "red/label.mean" }
params = { neuron_sigma_px = 4.0 }
"""
FIELDS = {
    "labels": "labelled=.3",
    "bleed-through .3": "labelled=.3&green_in_red=.3",
    "dim labels": "labelled=.3&label=.3",
    "dim, bleed-through .3": "labelled=.3&label=.3&green_in_red=.3",
    "both ways .3": "labelled=.3&green_in_red=.3&red_in_green=.3",
    "none labelled, .3": "labelled=0&green_in_red=.3",
    "all labelled": "labelled=1",
    "bleed-through 1": "labelled=.3&green_in_red=1",
}


def marks(seed: int, field: str, frames: int) -> tuple[int, int, int]:
    """True, false and missed marks among the accepted cells that are true ones."""
    with tempfile.TemporaryDirectory() as folder:
        with open_source(f"sim:calcium?shape=128x128&channels=2&frames={frames}&seed={seed}&{field}") as source:
            truth = source.truth
            engine = Engine(source, parse_config(CONFIG), Path(folder, "s"))
            engine.start()
            assert engine.wait(600)
        cells = open_session(Path(folder, "s")).plane("green/0").components()
        parts = (truth[f"green/0/A_{name}"] for name in ("data", "indices", "indptr"))
        true = scipy.sparse.csc_matrix(tuple(parts), shape=tuple(truth["green/0/A_shape"]))
        cosine = (unit(cells.footprints).T @ unit(true)).toarray()
    known = cells.accepted & (cosine.max(1) > 0.6)
    labelled, marked = (truth["red/0/label"] > 0)[cosine.argmax(1)][known], cells.structural[known]
    return int((labelled & marked).sum()), int((~labelled & marked).sum()), int((labelled & ~marked).sum())


def unit(images: scipy.sparse.csc_matrix) -> scipy.sparse.csc_matrix:
    """Columns of norm 1."""
    norm = np.sqrt(np.asarray(images.multiply(images).sum(0)).ravel())
    return images @ scipy.sparse.diags(1 / np.maximum(norm, 1e-12))


def draw(path: Path, seed: int, frames: int) -> None:
    """Draw the red plane and the green one of one field, with all cells and those marked."""
    from matplotlib.figure import Figure

    with tempfile.TemporaryDirectory() as folder:
        with open_source(f"sim:calcium?shape=128x128&channels=2&frames={frames}&seed={seed}&labelled=.3") as source:
            engine = Engine(source, parse_config(CONFIG), Path(folder, "s"))
            engine.start()
            assert engine.wait(600)
        session = open_session(Path(folder, "s"))
        cells = session.plane("green/0").components()
        kept = cells.ids[cells.accepted].tolist()
        pictures = {
            "red: the label": session.plane("red/0").snapshot("label")["mean"],
            "green: background": cells.background,
        }
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, 2), pictures.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=np.nanpercentile(image, 1), vmax=np.nanpercentile(image, 99.7))
        for line, marked in zip(cells.contours(kept), cells.structural[cells.accepted], strict=True):
            y, x = np.vstack([line, line[:1]]).T
            axes.plot(x, y, color="#ff5a4d" if marked else "#58c4ff", lw=2.2 if marked else 1.0)
        axes.set(title=title, xticks=[], yticks=[])
    figure.suptitle("cells of green; red outlines: marked as labelled", fontsize=10)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Print a line for each kind of field, over all seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--fields", nargs="+", default=list(FIELDS), choices=list(FIELDS))
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    if asked.picture is not None:
        draw(asked.picture, asked.seeds[0], asked.frames)
        return
    for name in asked.fields:
        field = FIELDS[name]
        hits, false, missed = np.sum([marks(seed, field, asked.frames) for seed in asked.seeds], 0).tolist()
        f1 = 2 * hits / max(1, 2 * hits + false + missed)
        print(f"{name:24} {hits:3} true, {false:3} false, {missed:3} missed: F1 {f1:.3f}", flush=True)


if __name__ == "__main__":
    main()
