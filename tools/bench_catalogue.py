"""What a catalogue costs: a scan of sessions at first and again, searches among 10,000 rows, the page, trends' alarms.

python tools/bench_catalogue.py [SESSIONS] [SEED]      # copies of runs on simulated cameras, in a temporary folder

Prints seconds of processor time, and of the clock; a search is the median of 20.
"""

import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from streamfluo.catalogue.database import opened, put, transaction
from streamfluo.catalogue.entry import Entry, Measured
from streamfluo.catalogue.find import Query, find
from streamfluo.catalogue.page import write_page
from streamfluo.catalogue.scan import scan

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/catalogue")]
from facility import make  # noqa: E402
from test_trend import verdicts  # noqa: E402

ROWS = 10_000
ASKED = {
    "by a figure": Query(("cells > 50",), limit=100),
    "by a figure, a date and a step": Query(("cells > 50",), since="2026-06", step="extract", limit=100),
    "sorted by a figure": Query(sort="snr", limit=100),
    "by a word of the sender": Query(("user.mouse = M07",), limit=100),
    "all of them": Query(),
}
MONTHS = {
    "steady": {}, "steady, ρ = 0.3": {"phi": 0.3}, "steady, ρ = 0.5": {"phi": 0.5}, "steady, a month": {"days": 30},
    "drift of 2 σ": {"drift": 2.0}, "drift of 3 σ": {"drift": 3.0}, "step of 1.5 σ": {"step": 1.5},
    "step of 3 σ": {"step": 3.0}, "drift of 4 σ in a month": {"drift": 4.0, "days": 30},
    "step of 4 σ in a month": {"step": 4.0, "days": 30},
}  # fmt: skip


@contextmanager
def timed(what, count):
    """Print processor and clock time of what is done inside."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{what:36} {cpu:8.3f} s processor {wall:8.3f} s clock {count / cpu:10.0f} a second of processor")


def runs(folder):
    """Three runs to copy: of raw frames with moments."""
    (folder / "chain.toml").write_text('[record]\nraw = true\n[[step]]\nkind = "moments"\n')
    for seed in range(3):
        uri = f"sim:gain?frames=64&shape=128x128&seed={seed}"
        words = [sys.executable, "-m", "streamfluo", "run", "chain.toml", "--source", uri, "--out", f"run{seed}"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return [folder / f"run{seed}" for seed in range(3)]


def fill(file):
    """A catalogue of 10,000 sessions of twenty figures each."""
    random = np.random.default_rng(0)
    with opened(file, write=True) as connection, transaction(connection):
        for n in range(ROWS):
            measured = [Measured("extract", "extract", "cells", float(random.integers(0, 100)))]
            measured += [Measured("extract", "extract", "snr", float(random.uniform(2, 20)))]
            measured += [Measured("motion", "motion", f"figure{k}", float(random.random())) for k in range(18)]
            began = f"2026-{1 + n % 12:02d}-{1 + n % 28:02d}T10:00:00Z"
            fields = {"path": f"/data/{n}", "name": str(n), "steps": "motion extract", "frames": 9000, "began": began}
            entry = Entry(fields, measured, {"user.mouse": f"M{n % 30:02d}"})
            put(connection, entry, {"signature": "", "read_by": "1", "read_utc": "", "root": ""})


def main():
    count, seed = (int(word) for word in (*sys.argv[1:], *("200", "1")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shelf = make(folder / "shelf", runs(folder), count)
        find(fill_small(folder), Query())  # what is loaded once
        for what in ("scan at first", "scan again"):
            with timed(what, count):
                scan(shelf, folder / "shelf.sqlite")
        with timed("page", count):
            write_page(folder / "shelf.sqlite", folder / "page")
        file = folder / "many.sqlite"
        fill(file)
        for what, query in ASKED.items():
            took = []
            for _ in range(20 if query.limit else 3):
                start = time.process_time()
                found = find(file, query)
                took.append(time.process_time() - start)
            print(f"find {what:31} {1000 * np.median(took):8.1f} ms processor, {found.total} of {ROWS}")
    for what, change in MONTHS.items():
        found = {verdict: f"{100 * share:.1f} %" for verdict, share in sorted(verdicts(seed, 300, **change).items())}
        print(f"{what:36} {found}")


def fill_small(folder):
    """A catalogue of one session, for what is imported at first."""
    with opened(folder / "small.sqlite", write=True) as connection, transaction(connection):
        put(connection, Entry({"path": "/"}), {})
    return folder / "small.sqlite"


if __name__ == "__main__":
    main()
