"""Feed bytes nobody wrote to what reads bytes of strangers, and keep those that bring out more than our own errors.

    python tools/fuzz.py session --minutes 10 --corpus tests/corpora/session

Targets are those of tests/fuzz_targets.py. Guided by coverage where atheris can be imported (pip install atheris), else
by chance. A finding is an exception that is not ours, an input that takes more than 5 s or 300 MiB, or the death of the
process; each is kept once for the place it comes from. With --minimise the corpus is cut down to what it takes for the
same coverage.
"""

import argparse
import contextlib
import hashlib
import importlib
import logging
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
OURS = ("streamfluo.core", "streamfluo.network", "streamfluo.session", "streamfluo.sources", "tifffile")
MAX_S, MAX_BYTES, MAX_INPUT_BYTES = 5.0, 300 << 20, 1 << 16
DEAD_S, DEAD_MB = 60, 3000  # then the process is ended from outside
NUMBERS = [0, 1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


class Findings:
    """Inputs that did what none may, one for each place."""

    def __init__(self, folder, run, scratch):
        self.folder, self.run, self.scratch = folder, run, scratch
        self.runs, self.places = 0, {}

    def take(self, data):
        """Run one input and keep it if it is a finding."""
        self.runs += 1
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            self.run(data, self.scratch)
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "streamfluo/" in f.filename]
            at = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
            self._keep(data, f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno} {str(error)[:200]!r}")
        if (took_s := time.process_time() - began) > MAX_S:
            self._keep(data, f"slow at {took_s:.0f} s")
        if (grew := 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)) > MAX_BYTES:
            self._keep(data, f"memory at {grew >> 20} MiB")
        if self.runs % 1000 == 0:
            self.tell()

    def tell(self):
        print(f"{self.runs} runs, {len(self.places)} findings", flush=True)

    def _keep(self, data, what):
        place = what.partition(" at ")[2].partition(" ")[0] if what[:4] not in ("slow", "memo") else what[:4]
        kind = f"{what.partition(' at ')[0]} {place}"
        if kind in self.places:
            return
        name = hashlib.sha256(data).hexdigest()[:12]
        self.places[kind] = name
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)
        print(f"finding {name}: {what}", flush=True)


def load(name):
    """The target, with what it reads instrumented where atheris is."""
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=OURS) if atheris else contextlib.nullcontext():
        for room in OURS:
            importlib.import_module(room)
            for path in (ROOT / room.replace(".", "/")).glob("*.py"):
                importlib.import_module(f"{room}.{path.stem}")
        from fuzz_targets import TARGETS
    return TARGETS[name]


def changed(data, others, chance):
    """An input with some bytes changed, cut out, put in or taken from another."""
    data = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at, other = chance.randrange(len(data) + 1), chance.choice(others)
        what = chance.randrange(5)
        if what == 0:
            data[at : at + 1] = chance.randbytes(1)
        elif what == 1:
            number, nbytes = chance.choice(NUMBERS), chance.choice([1, 2, 4, 8])
            data[at : at + nbytes] = (number % 256**nbytes).to_bytes(nbytes, chance.choice(["little", "big"]))
        elif what == 2:
            del data[at : at + chance.randrange(1, 64)]
        elif what == 3:
            data[at:at] = chance.randbytes(chance.randrange(1, 16))
        else:
            start = chance.randrange(len(other) + 1)
            data[at : at + 32] = other[start : start + 32]
    return bytes(data[:MAX_INPUT_BYTES])


def by_chance(findings, inputs, minutes, seed):
    """Change whole inputs at random until the time is over."""
    chance, until = random.Random(seed), time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        findings.take(changed(chance.choice(inputs), inputs, chance))
    findings.tell()


def in_child(args):
    """Fuzz in this process, which may die of it."""
    scratch = Path(tempfile.mkdtemp())
    target = load(args.target)
    findings = Findings(args.findings, target.run, scratch)
    args.corpus.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds(scratch)
    target.run(seeds[0], scratch)  # what is made and compiled once is nobody's memory
    if atheris is None:
        by_chance(findings, [*seeds, *(p.read_bytes() for p in args.corpus.iterdir())], args.minutes, args.seed)
        return
    whole = args.scratch / "seeds"
    whole.mkdir(exist_ok=True)
    for data in seeds:
        (whole / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    options = [
        f"-max_total_time={round(60 * args.minutes)}", f"-max_len={MAX_INPUT_BYTES}", f"-timeout={DEAD_S}",
        f"-rss_limit_mb={DEAD_MB}", f"-artifact_prefix={args.findings}/dead-", f"-seed={args.seed}",
    ]  # fmt: skip
    if args.minimise:
        options = ["-merge=1", f"-max_len={MAX_INPUT_BYTES}"]
    atheris.Setup([sys.argv[0], *options, str(args.corpus), str(whole)], findings.take)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--findings", type=Path, help="CORPUS.findings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minimise", action="store_true", help="put into the corpus only what adds coverage, and end")
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.findings = args.findings or args.corpus.with_name(args.corpus.name + ".findings")
    if args.scratch is not None:
        in_child(args)
        return
    supervise(args)


def supervise(args):
    """Start the process that fuzzes again whenever it died, until the time is over; tell what came of it."""
    until = time.monotonic() + 60 * args.minutes
    runs, found, coverage, seed = 0, set(), "unknown", args.seed
    args.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        while (left := until - time.monotonic()) > 1:
            words = [args.target, "--minutes", f"{left / 60:.2f}", "--corpus", args.corpus, "--findings", args.findings]
            words += ["--seed", str(seed), "--scratch", scratch]
            words += ["--minimise"] if args.minimise else []
            child = subprocess.Popen(
                [sys.executable, __file__, *map(str, words)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            )  # fmt: skip
            done = 0
            for line in child.stdout:
                if line.startswith(("finding", "Traceback", "==")) or "ERROR" in line:
                    print(line.rstrip(), flush=True)
                if line.startswith("finding"):
                    found.add(line.partition(": ")[2].partition(" '")[0])
                if told := re.match(r"(\d+) runs|#(\d+)\s", line):
                    done = max(done, int(told[1] or told[2]))
                if told := re.search(r"cov: (\d+)", line):
                    coverage = f"{told[1]} edges"
            runs, seed = runs + done, seed + 1
            code = child.wait()
            if args.minimise:
                return
            if code != 0:
                print(f"the process ended with {code}", flush=True)
                found.add(f"death {code}")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    how = f"{'atheris' if atheris else 'chance'}, {(spent.ru_utime + spent.ru_stime) / 60:.1f} min of CPU"
    print(
        f"{args.target}: {runs} runs by {how}, coverage {coverage}, {len(found)} findings", *sorted(found), sep="\n  "
    )


if __name__ == "__main__":
    main()
