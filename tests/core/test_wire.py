"""The wire: every message survives both encodings, every limit has its counter, and no bytes do harm."""

import json
import re
import time

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfluo import WireError
from streamfluo.core import wire

IMAGE = dict(type="image", series_uid="u", seq=0, index=0, dtype="<u2", shape=[2, 3], nbytes=12)
SUBSCRIBE = dict(type="subscribe", from_seq="live", credit=3)

counters = st.integers(0, 2**53)
texts = st.text(max_size=20)
users = st.dictionaries(texts, st.integers(-9, 9) | texts | st.lists(st.booleans(), max_size=3), max_size=4)
shapes = st.tuples(counters, counters)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
array_headers = st.lists(
    st.builds(
        wire.ArrayHeader, texts, texts, st.lists(counters, max_size=3).map(tuple), counters,
        st.lists(texts, max_size=2).map(tuple), texts,
    ),
    max_size=2,
).map(tuple)  # fmt: skip
MESSAGES = {
    wire.Start: dict(
        series_uid=texts, source=texts, t0_ns=counters, frames=st.none() | counters, dtype=texts, shape=shapes,
        channel=texts, pixel_um=numbers, exposure_s=numbers, interval_s=numbers, camera=st.none() | users, user=users,
    ),
    wire.Image: dict(
        series_uid=texts, seq=counters, index=counters, t_ns=counters, dtype=texts, shape=shapes, nbytes=counters,
        channel=texts, z=counters, crc32=st.none() | counters, user=users,
    ),
    wire.Memory: dict(series_uid=texts, memory=texts),
    wire.Gap: dict(series_uid=texts, first=counters, last=counters, reason=texts),
    wire.End: dict(
        series_uid=texts, seq=counters, frames=counters, dropped_camera=counters, dropped_transport=counters,
        reason=st.sampled_from(["finished", "aborted", "error"]),
    ),
    wire.Heartbeat: {},
    wire.Error: dict(reason=texts, supported=st.lists(counters, max_size=3).map(tuple)),
    wire.Subscribe: dict(series=texts, from_seq=counters | st.sampled_from(["oldest", "live"]), credit=counters),
    wire.Credit: dict(n=counters),
    wire.Ack: dict(seq=counters),
    wire.Bye: {},
    wire.Hello: dict(
        program=texts, series=st.none() | users, steps=st.lists(st.tuples(texts, texts, texts), max_size=3),
        gives=st.dictionaries(
            texts, st.lists(st.tuples(texts, texts, st.lists(texts, max_size=2).map(tuple), texts, texts), max_size=2),
            max_size=2,
        ),
        endpoints=st.dictionaries(texts, texts, max_size=2),
    ),
    wire.Status: dict(program=texts, state=texts, series_uid=texts, counters=users),
    wire.Preview: dict(step=texts, bin_px=st.integers(1, 64), endpoint=texts),
    wire.Look: dict(step=texts, index=counters, bin_px=st.integers(1, 64)),
    wire.Past: dict(step=texts, names=st.lists(texts, max_size=3).map(tuple), before=counters),
    wire.Event: dict(event=texts, utc=texts, fields=users),
    wire.Result: dict(
        series_uid=texts, step=texts, kind=st.sampled_from(["values", "snapshot"]), index=counters, count=counters,
        arrays=array_headers,
    ),
    wire.Calibration: dict(series_uid=texts, arrays=array_headers),
}  # fmt: skip
MESSAGES[wire.Slab] = MESSAGES[wire.Image] | dict(memory=texts, slab=counters)


def test_every_message_type_is_tried():
    assert set(MESSAGES) == set(wire.Message.__args__)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_every_message_survives_msgpack_and_json(kind, data):
    message = kind(**{name: data.draw(values, name) for name, values in MESSAGES[kind].items()})
    assert wire.decode(wire.encode(message)) == message
    assert wire.decode(msgspec.json.encode(message)) == message


def test_the_type_of_a_message_is_its_name_in_lower_case():
    assert msgspec.msgpack.decode(wire.encode(wire.Bye())) == {"type": "bye"}


def test_any_kind_of_buffer_is_read():
    data = wire.encode(wire.Ack(seq=4))
    assert wire.decode(bytearray(data)) == wire.decode(memoryview(data)) == wire.Ack(seq=4)


# Whatever bytes come


def decoded(data):
    try:
        return wire.decode(data)
    except WireError as error:
        return error


@settings(max_examples=500)
@given(data=st.binary(max_size=300) | st.binary(max_size=300).map(b"{".__add__))
@example(b"")
@example(b"\xdf\xff\xff\xff\xff")  # a map of 4 billion keys
@example(b"\x81\xa4type\xc6\xff\xff\xff\xff")  # bytes of 4 GiB
@example(b"[" * 60_000)
@example(b'{"a":' * 12_000)
@example(b"\x91" * 65_536)
@example(b"\x81\xa1a" * 21_000)
@example(b"\x81\x93\x01\x02\x03\xc0")  # an array as a key
@example(b'{"type":"ack","seq":' + b"9" * 5000 + b"}")
@example(b'{"type":"ack","seq":1e400}')
@example(b'{"type":"image\xff"}')
@example(b'{"type":"image","shape":[NaN,1]}')
def test_any_bytes_are_a_message_or_a_wire_error(data):
    before_s = time.thread_time()  # of this thread alone: others may use the machine as well
    result = decoded(data)
    assert time.thread_time() - before_s < 1  # bytes that take seconds to refuse would stop a station
    assert isinstance(result, wire.Message | WireError)
    assert isinstance(result, wire.Message) or len(str(result)) < 500


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(-9, 9), inner, max_size=4),
)


@settings(max_examples=300)
@given(base=st.sampled_from([IMAGE, SUBSCRIBE]), key=st.sampled_from([*IMAGE, *SUBSCRIBE, "version"]), value=trees)
def test_any_value_under_any_key_is_a_message_or_a_wire_error(base, key, value):
    assert isinstance(decoded(msgspec.msgpack.encode({**base, key: value})), wire.Message | WireError)


@settings(max_examples=200)
@given(at=st.integers(0, 200), flip=st.integers(1, 255))
def test_a_damaged_header_is_a_message_or_a_wire_error(at, flip):
    data = bytearray(msgspec.msgpack.encode(IMAGE))
    data[at % len(data)] ^= flip
    assert isinstance(decoded(bytes(data)), wire.Message | WireError)


# Every limit has its counter


def nested(depth):
    """A header map with `depth` levels, itself the first."""
    value = {}
    for _ in range(depth - 2):
        value = {"a": value}
    return {"type": "bye", "x": value}


LIMITS = [
    ("header_size", json.dumps({"type": "bye", "x": "a" * 65_536}).encode()),
    ("header_syntax", b""),
    ("header_syntax", b"{'type': 'bye'}"),
    ("header_syntax", msgspec.msgpack.encode([1, 2])),
    ("header_syntax", msgspec.msgpack.encode("bye")),
    ("header_syntax", msgspec.msgpack.encode({"type": "bye"}) + b"\0"),
    ("nesting", nested(9)),
    ("nesting", {"type": "bye", "x": [[[[[[[[]]]]]]]]}),
    ("keys", {"type": "bye", **{f"k{n}": n for n in range(512)}}),
    ("keys", {"type": "bye", "x": [{f"k{n}": n for n in range(256)}] * 2}),
    ("type", {}),
    ("type", {"type": "_message"}),
    ("type", {"type": "Image"}),
    ("type", {"type": 3}),
    ("type", {"type": "x" * 1000}),
    ("version", {**IMAGE, "version": 2}),
    ("version", {**SUBSCRIBE, "version": "1"}),
    ("version", {**SUBSCRIBE, "version": None}),
    ("fields", {"type": "ack"}),
    ("fields", {"type": "ack", "seq": "1"}),
    ("fields", {"type": "ack", "seq": 1.5}),
    ("fields", {"type": "ack", "seq": None}),
    ("fields", {**IMAGE, "shape": [2, 3, 4]}),
    ("fields", {**IMAGE, "shape": "23"}),
    ("fields", {**SUBSCRIBE, "from_seq": "newest"}),
    ("fields", {"type": "end", "series_uid": "u", "seq": 1, "frames": 1, "reason": "bored"}),
]


@pytest.mark.parametrize(("kind", "header"), LIMITS)
def test_a_header_past_a_limit_counts_as_that_limit(kind, header):
    data = header if isinstance(header, bytes) else msgspec.msgpack.encode(header)
    with pytest.raises(WireError) as caught:
        wire.decode(data)
    assert caught.value.kind == kind


WITHIN = [
    nested(8),
    {"type": "bye", **{f"k{n}": n for n in range(511)}},
    {"type": "bye", "x": "a" * 65_500},
    {"type": "bye", "unknown": 3, "version": 1},
    {**SUBSCRIBE, "unknown": {"deep": [1, {"er": None}]}},
]


@pytest.mark.parametrize("header", WITHIN, ids=["nesting 8", "512 keys", "64 KiB", "unknown key", "unknown map"])
def test_a_header_just_within_the_limits_passes_and_unknown_keys_are_ignored(header):
    assert isinstance(wire.decode(msgspec.msgpack.encode(header)), wire.Bye | wire.Subscribe)


def test_a_wrong_version_is_told_which_are_spoken():
    with pytest.raises(WireError, match="version 2 is not spoken here; supported: 1"):
        wire.decode(msgspec.msgpack.encode({**IMAGE, "version": 2}))


# Pixels


def image(**changes):
    return wire.decode(msgspec.msgpack.encode({**IMAGE, **changes}))


BAD_FRAMES = [
    ("dtype", dict(dtype="<f8", nbytes=48), 48),
    ("dtype", dict(dtype="|O", nbytes=48), 48),
    ("dtype", dict(dtype="<i4", nbytes=24), 24),
    ("dtype", dict(dtype="uint16"), 12),
    ("dtype", dict(dtype=""), 12),
    ("dtype", dict(dtype="x" * 9999), 12),
    ("shape", dict(shape=[0, 3], nbytes=0), 0),
    ("shape", dict(shape=[-2, -3]), 12),
    ("shape", dict(shape=[65537, 1], nbytes=131074), 131074),
    ("shape", dict(shape=[2**40, 2**40], nbytes=12), 12),
    ("nbytes", dict(nbytes=13), 12),
    ("nbytes", dict(nbytes=13), 13),
    ("nbytes", dict(), 11),
    ("nbytes", dict(), 0),
    ("nbytes", dict(shape=[65536, 65536], nbytes=2**33), 12),
    ("nbytes", dict(nbytes=-12), 12),
]


@pytest.mark.parametrize(("kind", "changes", "length"), BAD_FRAMES)
def test_pixels_past_a_limit_count_as_that_limit_before_anything_is_allocated(kind, changes, length):
    with pytest.raises(WireError) as caught:
        wire.frame_pixels(image(**changes), bytes(length))
    assert caught.value.kind == kind


@pytest.mark.parametrize("dtype", wire.FRAME_DTYPES)
def test_every_dtype_arrives_native_with_its_values(dtype):
    pixels = np.arange(6).reshape(2, 3).astype(dtype)
    got = wire.frame_pixels(image(dtype=dtype, nbytes=pixels.nbytes), pixels.tobytes())
    assert got.dtype.isnative
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(got, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("offset", range(4))
def test_unaligned_buffers_are_fine(offset):
    pixels = np.arange(6, dtype="<u4").reshape(2, 3)
    buffer = memoryview(bytes(offset) + pixels.tobytes())[offset:]
    got = wire.frame_pixels(image(dtype="<u4", nbytes=24), buffer)
    assert np.array_equal(got, pixels)
    assert np.array_equal(got + got, pixels * 2)


def test_native_pixels_are_a_view_of_the_part():
    part = np.arange(6, dtype="<u2").tobytes()
    assert np.shares_memory(wire.frame_pixels(image(), part), np.frombuffer(part, "u1"))


def test_the_normative_text_names_every_type_and_every_field_of_a_message():
    text = wire.__doc__
    for message in wire.Message.__args__:
        assert re.search(rf"^    {message.__name__.lower()} ", text, re.M), message
        assert all(name in text for name in message.__struct_fields__)
