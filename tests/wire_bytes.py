"""Messages as a viewer gets them: bytes. And a model they are fed to."""

import numpy as np

from streamfluo import Block
from streamfluo.core import wire
from streamfluo.core.records import decode_frame, encode_record
from streamfluo.core.results import decode_result, encode_arrays
from streamfluo.viewer.model import Model

SHAPE = (6, 8)
GIVES = {
    "motion": [
        ("frames", "frames", ("t", "y", "x"), "ADU", "corrected frames"),
        ("shift_px", "per_frame", ("t", "yx"), "px", "shift of the tissue"),
    ],
    "extract": [
        ("trace", "by_id", ("t", "id"), "ADU", "fluorescence of each neuron"),
        ("mean", "snapshot", ("y", "x"), "ADU", "mean image"),
        ("noise", "snapshot", ("bin",), "ADU", "a curve"),
        ("neurons", "snapshot", (), "", "how many there are"),
        ("contours", "snapshot", ("id", "point", "yx"), "px", "outlines"),
    ],
    "spots": [("spots", "table", ("frame", "y_px", "x_px", "photons"), "", "what was found")],
}
FACTS = (SHAPE, "<u2", 0.5, 0.1)
HELLO = wire.Hello(
    program="run",
    series={"series_uid": "one"},
    steps=[("motion", "motion", "source"), ("extract", "extract", "motion"), ("spots", "spots", "motion")],
    gives=GIVES,
    frames={"source": FACTS, "motion": (SHAPE, "<f4", 0.5, 0.1)},
    endpoints={"results": "tcp://127.0.0.1:1", "preview": "tcp://127.0.0.1:2"},
)


def fed(*pieces, model=None):
    """Feed bytes to a model: headers, lists of parts of a result, or records of a preview (bytearrays)."""
    model = model or Model("tcp://127.0.0.1:9")
    for piece in pieces:
        if isinstance(piece, bytearray):
            model.take(*decode_frame(piece))
        elif isinstance(piece, list):
            model.take(*decode_result(piece))
        else:
            model.take(wire.decode(piece))
    return model


def hello(**changes):
    return wire.encode(wire.Hello(**{f: getattr(HELLO, f) for f in HELLO.__struct_fields__} | changes))


def status(**counters):
    return wire.encode(wire.Status(program="run", state="running", series_uid="one", counters=counters))


def frame(index, pixels, step="source", bin_px=1, arrived_ns=None):
    user = {"step": step, "bin_px": bin_px} | ({} if arrived_ns is None else {"arrived_ns": arrived_ns})
    pixels = np.asarray(pixels)
    block = Block(index, np.array([0]), pixels[None])
    header = wire.image_of("one", block, 0, index, user)
    return bytearray(b"".join(encode_record(wire.encode(header), [pixels])))


def result(step, index, count=1, kind="values", **arrays):
    arrays = {name.replace("__", "/"): np.asarray(a) for name, a in arrays.items()}
    headers, parts = encode_arrays(arrays)
    message = wire.Result(series_uid="one", step=step, kind=kind, index=index, count=count, arrays=tuple(headers))
    return [f"{kind}/{step}/".encode(), wire.encode(message), *(p.tobytes() for p in parts)]
