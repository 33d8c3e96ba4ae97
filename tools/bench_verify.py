"""What `streamfluo verify` notices, and what it costs: flipped bits over all files of a session, speed against reading.

    python tools/bench_verify.py [FLIPS] [SEED]

Each file gets FLIPS single bits flipped, at its first and last byte and at random ones. What a reader of the session
returns is compared with before as well: a flip that changes that and is not noticed is the worst.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from streamfluo import open_session
from streamfluo.core.errors import StreamfluoError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.manifest import MANIFEST, check_files
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, verify_session

CONFIG = """
[record]
raw = true
steps = ["motion"]
checkpoint_s = 0.01
[[step]]
kind = "motion"
[[step]]
kind = "moments"
[[step]]
kind = "spots"
after = "source"
"""


def made(folder, uri, config=CONFIG):
    with open_source(uri) as source:
        engine = Engine(source, parse_config(config), folder)
        engine.start()
        engine.wait()
    return folder


def returned(folder):
    """What a reader returns of a session, as bytes; and whether it says that something is damaged."""
    try:
        session = open_session(folder)
        held = [session.read_frames(0, 1 << 40).tobytes(), repr(session.spec), repr(session.steps), repr(session.gaps)]
        for step in session.recorded_steps:
            held += [repr(step.values).encode(), step.index.tobytes()]
            held += [step.snapshot[name].tobytes() for name in sorted(step.snapshot)]
            held += [value.tobytes() for value in step.values.values() if isinstance(value, np.ndarray)]
            held += [a.tobytes() for v in step.values.values() if isinstance(v, dict) for a in v.values()]
            if step.frames_path is not None:
                held.append(step.read_frames(0, 1 << 40).tobytes())
        held += [a.tobytes() for a in session.truth.values()] + [repr(session.events), repr(session.health)]
        return held, bool(session.check())
    except (StreamfluoError, OSError) as error:
        return str(error), True


def flips(folder, count, seed):
    rng, facts, before = np.random.default_rng(seed), open_session(folder).facts, returned(folder)[0]
    heads = f"{'bytes':>9s} {'flips':>6s} {'noticed':>8s} {'changed values':>15s} {'of these by the reader':>23s}"
    print(f"{'file':44s} {heads}")
    totals = np.zeros(4, int)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
        original = path.read_bytes()
        row = np.zeros(4, int)
        for n, at in enumerate({0, len(original) - 1, *rng.integers(0, len(original), count).tolist()}):
            other = bytearray(original)
            other[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(other)
            noticed = bool(check_files(folder, facts).damaged)
            row[:2] += (1, noticed)
            if n < 40:  # reading all takes longer
                after, said = returned(folder)
                changed = after != before
                row[2:] += (changed, changed and said)
                assert noticed or not changed, (path, at)
        path.write_bytes(original)
        name = path.relative_to(folder).as_posix()
        print(f"{name:44s} {len(original):9d} {row[0]:6d} {row[1]:8d} {row[2]:15d} {row[3]:23d}")
        totals += row
    print(f"{'all':44s} {'':9s} {totals[0]:6d} {totals[1]:8d} {totals[2]:15d} {totals[3]:23d}")


def speed(folder):
    def read():
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    while file.read(16 << 20):
                        pass

    facts = open_session(folder).facts
    work = {
        "plain read": read, "files": lambda: check_files(folder, facts),
        "verify --no-recompute": lambda: verify_session(folder, Wanted(False)),
        "the reader's check()": lambda: open_session(folder).check(),
    }  # fmt: skip
    nbytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    taken = {name: [] for name in work}
    for _ in range(5):
        for name, one in work.items():
            began = time.process_time()
            one()
            taken[name].append(time.process_time() - began)
    base = np.median(taken["plain read"])
    for name, seconds in taken.items():
        middle = np.median(seconds)
        print(
            f"{name:24s} {middle:7.3f} s of CPU, {nbytes / middle / 1e9:6.2f} GB/s, {middle / base:5.1f} × a plain read"
        )


def main(count=200, seed=1):
    with tempfile.TemporaryDirectory() as work:
        small = made(Path(work) / "small", f"sim:spots?frames=60&seed={seed}&shape=32x32")
        assert (small / MANIFEST).exists()
        flips(small, count, seed)
        shutil.rmtree(small)
        large = made(
            Path(work) / "large", "sim:spots?frames=600&seed=1&shape=512x512",
            '[record]\nraw = true\n[[step]]\nkind = "moments"\n',
        )  # fmt: skip
        speed(large)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
