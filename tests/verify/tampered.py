"""Sessions that tests of verification share, and what may befall them."""

import json

from streamfluo import open_session
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.schema import sealed
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, verify_session

CONFIG = """
[record]
raw = true
steps = ["motion"]
checkpoint_s = 0.001
[[step]]
kind = "motion"
[[step]]
kind = "moments"
"""
URI = "sim:spots?frames=80&seed=5&shape=40x48"
FILES_ONLY = Wanted(recompute=False)


def run(folder, config=CONFIG, uri=URI, **engine):
    with open_source(uri) as source:
        running = Engine(source, parse_config(config), folder, **engine)
        running.start()
        running.wait()
        assert running.error is None
    return folder


def words(folder, wanted=FILES_ONLY):
    return verify_session(folder, wanted).word


def found(folder, wanted=FILES_ONLY):
    return [str(finding) for finding in verify_session(folder, wanted).findings]


def resealed(folder, **changed):
    """Change what session.json says, as a program would that knows its checksum."""
    facts = json.loads((folder / "session.json").read_text())
    facts.pop("crc32")
    for name in ("session.json", "session.copy.json"):
        (folder / name).write_bytes(json.dumps(sealed({**facts, **changed}), indent=1).encode())


def rewritten(session, step, name, change):
    """Write the values of a step again with one changed, each record whole: what no checksum of a record tells."""
    from streamfluo.core.step_values import StepValues, sized
    from streamfluo.session.values import ValuesWriter

    opened = open_session(session)
    records = [(r.index, r.frames, {n: a.copy() for n, a in r.arrays.items()}) for r in opened.each_record(step)]
    path = session / "values" / f"{step}.sfv"
    path.unlink()
    writer = ValuesWriter(path, opened.series["uid"])
    for index, frames, arrays in records:
        change(arrays[name])
        writer.add(StepValues(step, index, frames, arrays, sized(arrays)))
        writer.flush()
    writer.close()


def forget_manifest(session):
    (session / "manifest.json").unlink()
    resealed(session, manifest_blake2b=None)


def cut_frames(session, first, stop):
    """Take frames out of the journal, as if they had never been written."""
    path = session / "journal" / "000000.sfj"
    held = path.read_bytes()
    size = len(held) // 80
    path.write_bytes(held[: first * size] + held[stop * size :])


def counted_otherwise(session, **said):
    """Let the run have counted something else, as one would have that did."""
    counted = json.loads((session / "health.json").read_text())
    counted.pop("crc32")
    (session / "health.json").write_bytes(json.dumps(sealed({**counted, **said}), indent=1).encode())
    forget_manifest(session)


class Gappy:
    """A source that loses frames 20 to 24."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def blocks(self, max_frames=32):
        for block in self._source.blocks(20):
            if block.index == 20:
                yield Gap(20, 5, "camera")
                block = block.cut(25, block.stop)
            yield block
