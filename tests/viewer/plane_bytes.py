"""A run of two channels and some slices, as a viewer is told of it: motion measured on red, applied to green."""

import msgspec
from wire_bytes import FACTS, SHAPE, frame, hello
from wire_bytes import GIVES as OF_ONE

from streamfluo.core import wire

COLOURS = {"red": "#ff0000", "green": "#00ff00"}
GIVES = {**OF_ONE, "extract": [*OF_ONE["extract"], ("cells", "table", ("frame", "area_px"), "", "what was found")]}


def planes_of(slices=2, channels=("red", "green")):
    planes = [(c, z) for z in range(slices) for c in channels]
    return [
        {"name": f"{c}/{z}", "channel": c, "z": z, "z_um": 12.0 * z, "colour": COLOURS.get(c, "")} for c, z in planes
    ]


def hello_of_planes(slices=2, extracted=None, **changes):
    """The run's hello; `extracted` slices have a step extract on green (all of them)."""
    planes = planes_of(slices)
    steps, gives, frames = [], {}, {f"{p['name']}/source": FACTS for p in planes}
    for z in range(slices):
        steps += [(f"red/{z}/motion", "motion", f"red/{z}/source"), (f"green/{z}/apply", "motion", f"green/{z}/source")]
        for step in (f"red/{z}/motion", f"green/{z}/apply"):
            gives[step], frames[step] = GIVES["motion"], (SHAPE, "<f4", 0.5, 0.1)
    for z in range(slices) if extracted is None else extracted:
        steps.append((f"green/{z}/extract", "extract", f"green/{z}/apply"))
        gives[f"green/{z}/extract"] = GIVES["extract"]
    series = {"series_uid": "one", "planes": planes}
    return hello(**{"series": series, "steps": steps, "gives": gives, "frames": frames} | changes)


def plane_frame(plane, index, pixels, step="source", **user):
    return frame(index, pixels, step=f"{plane}/{step}", **user)


def with_volume(told):
    """The same run with a step volume that stands once for the slices of green."""
    gives = [("contours", "snapshot", ("z", "id", "point", "yx"), "px", ""), ("traces", "by_id", ("t", "id"), "σ", "")]
    known = wire.decode(told)
    steps = [*known.steps, ("green/0/volume", "volume", "green/0/source")]
    return wire.encode(msgspec.structs.replace(known, steps=steps, gives=known.gives | {"green/0/volume": gives}))
