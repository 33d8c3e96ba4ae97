"""Golden bytes: what protocol 1 looks like, for programs in other languages to check themselves against.

`examples/protocol-1/` holds a header of every message type as it is sent, some as JSON, and whole records. They never
change; what they mean stands here. `python tests/core/test_golden.py` writes those that are missing.
"""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamfluo.core import wire
from streamfluo.core.records import decode_frame, encode_record, record_at, record_payload
from streamfluo.core.results import arrays_in, encode_arrays

FOLDER = Path(__file__).parents[2] / "examples" / "protocol-1"
PIXELS = np.arange(12, dtype="<u2").reshape(3, 4) * 257
ARRAYS = {"shift_px": np.array([[0.5, -1.25]], "<f4"), "count": np.array([7], "<i8"), "status": np.array(["µ", "ok"])}
IMAGE = wire.Image(
    series_uid="golden", seq=41, index=44, t_ns=1_466_666_667, dtype="<u2", shape=(3, 4), nbytes=24, channel="green"
)
MEMORY = "sf-0123456789abcdef.00112233445566778899aabbccddeeff"
RESULT = wire.Result(series_uid="golden", step="motion", index=44, count=1, arrays=tuple(encode_arrays(ARRAYS)[0]))
MESSAGES = [
    wire.Start(
        series_uid="golden", source="mm:demo", t0_ns=1_790_000_000_000_000_000, frames=None, dtype="<u2", shape=(3, 4),
        channel="green", pixel_um=0.65, exposure_s=0.03, interval_s=0.0333, user={"animal": "m17"},
        camera={"offset_adu": 100.0, "gain_e_per_adu": 0.46, "read_noise_e": None},
    ),
    IMAGE,
    wire.Gap(series_uid="golden", first=42, last=50, reason="transport"),
    wire.End(series_uid="golden", seq=51, frames=51, dropped_camera=3, dropped_transport=0, reason="finished"),
    wire.Heartbeat(),
    wire.Error(reason="version 2 is not spoken here", supported=(1,)),
    wire.Subscribe(series="current", from_seq="oldest", credit=64),
    wire.Credit(n=16),
    wire.Ack(seq=41),
    wire.Bye(),
    wire.Hello(
        program="run", steps=[("motion", "motion", "source")], endpoints={"results": "tcp://127.0.0.1:5561"},
        gives={"motion": [("shift_px", "per_frame", ("t", "yx"), "px", "shift of the tissue")]},
        frames={"source": ((3, 4), "<u2", 0.65, None), "motion": ((3, 4), "<f4", 0.65, 0.0333)},
    ),
    wire.Status(program="run", state="running", series_uid="golden", counters={"frames": 51, "lost": 3}),
    wire.Preview(step="motion", bin_px=2),
    wire.Look(step="green/0/source", index=44, bin_px=2),
    wire.Past(step="extract", names=("traces",), before=44),
    wire.Memory(series_uid="golden", memory=MEMORY),
    wire.Slab(**msgspec.structs.asdict(IMAGE), memory=MEMORY, slab=2),
    wire.Event(event="gap", utc="2026-11-21T03:00:00Z", fields={"first": 42, "count": 9}),
    RESULT,
    wire.Calibration(
        series_uid="golden", arrays=tuple(encode_arrays({"offset_adu": np.full((3, 4), 100.0)})[0])
    ),
]  # fmt: skip


def golden():
    """File name → bytes."""
    files = {f"{type(m).__name__.lower()}.msgpack": wire.encode(m) for m in MESSAGES}
    files |= {f"{type(m).__name__.lower()}.json": msgspec.json.encode(m) for m in MESSAGES[:4]}
    files["image.record"] = b"".join(encode_record(wire.encode(IMAGE), [PIXELS], 1))
    files["result.record"] = b"".join(encode_record(wire.encode(RESULT), encode_arrays(ARRAYS)[1], 1))
    return files


def test_every_message_type_has_its_golden_bytes():
    assert {type(m) for m in MESSAGES} == set(wire.Message.__args__)
    assert {path.name for path in FOLDER.iterdir()} == set(golden())


@pytest.mark.parametrize("name", golden())
def test_we_write_the_golden_bytes(name):
    assert (FOLDER / name).read_bytes() == golden()[name]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_we_read_the_golden_bytes(message):
    for path in FOLDER.glob(f"{type(message).__name__.lower()}.*"):
        if path.suffix != ".record":
            assert wire.decode(path.read_bytes()) == message


@pytest.mark.parametrize("name", ["image", "result"])
def test_we_read_the_golden_records(name):
    data = (FOLDER / f"{name}.record").read_bytes()
    record = record_at(data, 0)
    assert record.stop == len(data)
    if name == "image":
        assert np.array_equal(decode_frame(data)[1], PIXELS)
    else:
        arrays = arrays_in(record.fields, record_payload(data, record))
        assert {n: a.tolist() for n, a in arrays.items()} == {n: a.tolist() for n, a in ARRAYS.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in golden().items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(data)
