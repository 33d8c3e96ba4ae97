"""The report of an hour at 30 frames/s: time of the processor, beside one pass over the same records; the page's size.

The session is written as a run would write it: raw frames, the values of `motion` and of `extract` with 100 cells.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from streamfluo import Block, Source, Spec, open_session
from streamfluo.calcium.extract.operator import Extract
from streamfluo.core.source import Series
from streamfluo.core.step_values import StepValues
from streamfluo.motion.motion import Motion
from streamfluo.report.page import write_page
from streamfluo.session.health import Health
from streamfluo.session.writer import RunFacts, SessionWriter

FRAMES, CELLS, SIDE_PX, PART = 108_000, 100, 64, 32


class Hour(Source):
    """A camera whose frames are written here."""

    seekable = False
    spec = Spec((SIDE_PX, SIDE_PX), "uint16", 1 / 30, 0.5)
    series = Series("hour", "bench:hour", frames=FRAMES)

    def blocks(self, max_frames: int = 32) -> Iterator[Block]:
        """None."""
        return iter(())

    def seek(self, index: int) -> None:
        """Stay where it is."""


def write(folder: Path) -> None:
    """Write the session."""
    facts = {"version": 1, "params": {}, "inputs": {}}
    steps = {
        "motion": {"kind": "motion", "after": "source", **facts},
        "extract": {"kind": "extract", "after": "motion", **facts},
    }
    gives = {"motion": Motion.gives, "extract": Extract.gives}
    writer = SessionWriter(folder, Hour(), RunFacts(steps, gives, "hour.toml", ""), raw=True)
    rng = np.random.default_rng(0)
    ids, pixels = np.arange(CELLS), rng.integers(90, 200, (PART, SIDE_PX, SIDE_PX)).astype(np.uint16)
    activity = np.maximum(rng.normal(size=(PART, CELLS)), 0).astype(np.float32)
    for start in range(0, FRAMES, PART):
        frames = np.arange(start, start + PART)
        writer.journal.append(Block(start, frames * 33_000_000, pixels))
        found = {"ids": ids, "present": np.ones((PART, CELLS), bool)}
        found |= {name: activity for name in ("traces", "raw", "spikes", "dff")}
        found |= {"settled/frame": np.repeat(frames, CELLS), "settled/id": np.tile(ids, PART)}
        found |= {f"settled/{name}": activity.reshape(-1) for name in ("trace", "raw", "spike", "dff")}
        moved = {"shift_px": rng.normal(size=(PART, 2)), "correlation": np.ones(PART)}
        moved |= {"valid": np.ones(PART, bool), "restarted": np.zeros(PART, bool)}
        for step, arrays in (("extract", found), ("motion", moved)):
            writer.values[step].add(StepValues(step, start, PART, arrays, sum(a.nbytes for a in arrays.values())))
            writer.values[step].flush()
    quality = np.zeros((CELLS, 10))
    quality[:, 0], quality[:, 2], quality[:, 3] = ids, 1, rng.uniform(3, 90, CELLS)
    quality[:, 7:9] = rng.integers(0, SIDE_PX - 12, (CELLS, 2))
    mean = rng.normal(100, 10, Hour.spec.shape)
    left = {"quality_now": quality, "footprints": np.ones((CELLS, 11, 11)), "background": mean}
    left["contours"] = quality[:, None, 7:9] + np.array([[0, 0], [0, 11], [11, 11], [11, 0]])
    snapshots = {"extract": lambda: left, "motion": lambda: {"mean": mean, "template": mean}}
    writer.close(snapshots, Health(frames=FRAMES, next_index=FRAMES), {}, "finished")


def spent_s(work: Callable[[], object]) -> float:
    """Time of the processor that a piece of work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Write the session, read it, make its page."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "S")
        session, page = open_session(Path(folder) / "S"), Path(folder) / "page.html"
        size = sum(path.stat().st_size for path in (Path(folder) / "S").rglob("*") if path.is_file())

        def read() -> None:
            frames = open_session(session.path).frames
            records = sum(r.frames for step in session.steps for r in session.each_record(step))
            assert records == 2 * frames

        read_s, page_s = spent_s(read), spent_s(lambda: write_page(open_session(session.path), page))
        print(f"report of an hour, {size / 1e9:.1f} GB: {page_s:.1f} s, {page_s / read_s:.1f} × reading it once")
        print(f"its page: {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
