"""A page's end: messages unpacked, a run that was told with bytes."""

import json
import struct

import numpy as np
from wire_bytes import fed, frame, hello, result, status

from streamfluo.web.run_view import RunView

PRESENTS = {"extract": (["frames", "mean"], ["trace", "shift_px"])}
PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)
OUTLINES = np.array([[[1.0, 1], [1, 3], [3, 3], [np.nan, np.nan]], [[2.0, 4], [2, 6], [4, 6], [4, 4]]])


def unpacked(message):
    """Return (header, arrays) of a message to a page."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    arrays = {}
    for name, (dtype, shape, at) in header["arrays"].items():
        assert (4 + length + at) % 8 == 0
        arrays[name] = np.frombuffer(message, dtype, int(np.prod(shape)), 4 + length + at).reshape(shape)
    return header, arrays


def by_kind(messages):
    """Return the messages of a turn by their kind."""
    return {unpacked(message)[0]["kind"]: unpacked(message) for message in messages}


def values(index, count=1, ids=(4, 7)):
    traces = np.arange(count)[:, None] + 10.0 * np.arange(len(ids))
    return result("extract", index, count, ids=list(ids), trace=traces)


def told(run, *pieces):
    """Feed bytes to a run."""
    fed(*pieces, model=run.model)
    run.model.connection(True)
    run.look(0.0)
    return run


def running():
    """A run of motion and extract that has told a frame, two cells and some values."""
    steps = [("motion", "motion", "source"), ("extract", "extract", "motion")]
    outlines = result("extract", 9, kind="snapshot", contours=OUTLINES)
    first = frame(9, PIXELS, step="motion")
    greeting = hello(presents=PRESENTS, steps=steps)
    edges = {name: {"frames": 10} for name in ("ingest", "chain")}
    return told(RunView("tcp://127.0.0.1:9"), greeting, status(edges=edges), first, outlines, values(0, 10))
