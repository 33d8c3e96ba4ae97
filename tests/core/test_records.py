"""Records: what goes in comes out, to the bit; what is damaged is noticed; what is not plain is refused."""

import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamfluo import WireError
from streamfluo.core import wire
from streamfluo.core.records import ALIGN, MAGIC, encode_record, record_at, record_payload
from streamfluo.core.results import MAX_ARRAYS, RESULT_DTYPES, array_sizes, arrays_in, arrays_of, encode_arrays


def joined(buffers):
    return b"".join(bytes(b) for b in buffers)


def frame_record(pixels, index=7):
    header = wire.Image(
        series_uid="u", seq=index, index=index, dtype=pixels.dtype.str, shape=pixels.shape, nbytes=pixels.nbytes
    )
    return joined(encode_record(wire.encode(header), [pixels]))


def parted(data):
    """The header map and the payload; raises WireError where one is damaged."""
    record = record_at(data, 0)
    return record.fields, record_payload(data, record)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (31, 33)])
def test_a_frame_survives_and_its_record_fills_64_bytes(shape):
    pixels = np.random.default_rng(1).integers(0, 2**16, shape).astype(np.uint16)
    data = frame_record(pixels)
    fields, payload = parted(data)
    assert fields["index"] == 7
    assert np.array_equal(np.frombuffer(payload, fields["dtype"]).reshape(fields["shape"]), pixels)
    assert len(data) % ALIGN == 0
    assert len(data) == record_at(data, 0).stop


def test_arrays_are_not_copied_on_their_way_out():
    pixels = np.zeros((4, 4), np.uint16)
    _, part, _ = encode_record(b"\x80", [pixels])
    assert np.shares_memory(np.frombuffer(part, "u1"), pixels)


def result(values):
    """A record of values, joined."""
    headers, parts = encode_arrays(values)
    header = wire.Result(series_uid="u", step="spots", index=12, count=3, arrays=tuple(headers))
    return joined(encode_record(wire.encode(header), parts))


arrays = st.sampled_from(RESULT_DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
texts = hnp.arrays("<U4", hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3), elements=words)


@settings(max_examples=100)
@given(values=st.dictionaries(st.text(max_size=9), arrays | texts, max_size=5))
def test_results_of_every_dtype_and_shape_survive_to_the_bit(values):
    data = result(values)
    fields, payload = parted(data)
    assert len(data) % ALIGN == 0
    assert (fields["step"], fields["index"], fields["count"]) == ("spots", 12, 3)
    got = arrays_in(fields, payload)
    assert list(got) == list(values)
    for name, array in values.items():
        assert got[name].shape == array.shape
        if array.dtype.kind == "U":
            assert got[name].tolist() == array.tolist()
        else:
            assert got[name].dtype == array.dtype
            assert got[name].tobytes() == array.tobytes()


FOREIGN = {
    "big-endian": np.arange(6, dtype=">i4"),
    "every second": np.arange(12.0)[::2],
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "a number": np.float64(2.5),
    "no row": np.empty((0, 3), np.float32),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_arrays_of_foreign_layout_are_stored_plain(name):
    fields, payload = parted(result({"x": FOREIGN[name]}))
    assert np.array_equal(arrays_in(fields, payload)["x"], FOREIGN[name])


REFUSED = [
    np.array([None]), np.array([b"a"]), np.array([1j]), np.array([1], "f2"), np.array([1], "u8"),
    np.array([1], "i1"), np.zeros(1, "M8[ns]"), np.zeros(1, [("a", "u1")]),
]  # fmt: skip


@pytest.mark.parametrize("array", REFUSED, ids=lambda a: str(a.dtype))
def test_arrays_a_result_does_not_carry_are_refused_by_name(array):
    with pytest.raises(WireError, match=r"value 'x' is .*; results are") as caught:
        encode_arrays({"x": array})
    assert caught.value.kind == "dtype"


# Damage

FRAME = frame_record(np.arange(12, dtype=np.uint16).reshape(3, 4))
RESULT = result({"x": np.arange(4.0), "ids": np.arange(2)})


def of_version_1(record):
    found = record_at(record, 0)
    payload = np.frombuffer(record[found.payload : found.end], np.uint8)
    return joined(encode_record(record[found.header : found.payload], [payload], 1))


RECORDS = pytest.mark.parametrize(
    "record", [FRAME, RESULT, of_version_1(FRAME), of_version_1(RESULT)], ids=["frame", "result", "frame 1", "result 1"]
)


@RECORDS
def test_any_single_changed_byte_is_noticed(record):
    parted(record)
    for at in range(record_at(record, 0).end + 4):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(record)
            damaged[at] ^= flip
            with pytest.raises(WireError):
                parted(bytes(damaged))


@RECORDS
def test_a_record_cut_anywhere_is_noticed(record):
    for stop in range(len(record)):
        with pytest.raises(WireError):
            parted(record[:stop])


def test_a_damaged_header_is_noticed_without_its_arrays():
    for at in range(record_at(FRAME, 0).payload):
        damaged = bytearray(FRAME)
        damaged[at] ^= 4
        with pytest.raises(WireError):
            record_at(damaged, 0)


@settings(max_examples=300)
@given(data=st.binary(max_size=200), begun=st.booleans())
def test_any_bytes_are_a_record_or_a_wire_error(data, begun):
    length, crc = len(data).to_bytes(4, "little"), zlib.crc32(data).to_bytes(4, "little")
    counted_as = "a record"
    try:
        parted((MAGIC + length + crc + data) if begun else data)
    except WireError as error:
        counted_as = error.kind
    assert counted_as in {"a record", "record", "header_syntax", "arrays", "shape", "nbytes", "nesting", "keys"}


def entry(**changes):
    return {"name": "x", "dtype": "<f8", "shape": [2], **changes}


BAD_RESULTS = [
    ("arrays", None),
    ("arrays", {"name": "x"}),
    ("arrays", [entry()] * (MAX_ARRAYS + 1)),
    ("arrays", ["x"]),
    ("arrays", [entry(name=3)]),
    ("arrays", [entry(dtype="|O")]),
    ("arrays", [entry(dtype="<c16")]),
    ("arrays", [entry(dtype=None)]),
    ("arrays", [entry(dtype=["<f8"])]),
    ("arrays", [entry(shape=2)]),
    ("shape", [entry(shape=[-1])]),
    ("shape", [entry(shape=[2**31])]),
    ("arrays", [entry(shape=[1.0])]),
    ("arrays", [entry(shape=["2"])]),
    ("nbytes", [entry(dtype="utf-8", nbytes=-1)]),
    ("nbytes", [entry(dtype="utf-8", nbytes=2**31)]),
    ("nbytes", [entry(shape=[2**30])]),
    ("nbytes", [entry(shape=[2**31 - 1] * 5)]),
    ("nbytes", [entry(shape=[2**26])] * 3),
]


def test_a_result_of_as_many_arrays_as_there_may_be_is_read():
    data = result({f"quality.{n}": np.zeros(1) for n in range(MAX_ARRAYS)})
    fields, payload = parted(data)
    assert len(arrays_in(fields, payload)) == MAX_ARRAYS


@pytest.mark.parametrize(("kind", "entries"), BAD_RESULTS)
def test_a_result_past_a_limit_counts_as_that_limit(kind, entries):
    with pytest.raises(WireError) as caught:
        array_sizes({"arrays": entries})
    assert caught.value.kind == kind


@pytest.mark.parametrize("nbytes", [None, -1, 2**36 + 1, "12", 1.5, [1]])
def test_a_frame_whose_length_cannot_be_is_refused(nbytes):
    record = joined(encode_record(msgspec.msgpack.encode({"type": "image", "nbytes": nbytes}), []))
    with pytest.raises(WireError, match="a record's nbytes cannot be") as caught:
        record_at(record, 0)
    assert caught.value.kind == "record"


@pytest.mark.parametrize("rank", [65, 255])
def test_a_result_of_more_axes_than_an_array_can_have_is_refused(rank):
    fields = {"arrays": [entry(shape=[1] * rank)]}
    with pytest.raises(WireError):
        arrays_in(fields, bytes(8))


def test_a_payload_shorter_than_its_arrays_is_refused():
    with pytest.raises(WireError):
        arrays_in({"arrays": [entry(shape=[3])]}, bytes(16))


def test_text_that_is_not_utf_8_or_of_another_length_is_refused():
    for payload in (b"\xff\xfe", b"one"):
        with pytest.raises(WireError):
            arrays_in({"arrays": [entry(dtype="utf-8", nbytes=len(payload))]}, payload)


def test_a_result_message_whose_parts_do_not_agree_is_refused():
    headers, parts = encode_arrays({"x": np.arange(3.0), "y": np.arange(2)})
    message = wire.Result(series_uid="u", step="s", index=0, count=1, arrays=tuple(headers))
    buffers = [part.tobytes() for part in parts]
    assert list(arrays_of(message, buffers)) == ["x", "y"]
    for wrong in (buffers[:1], [*buffers, b""], [buffers[0][:-1], buffers[1]]):
        with pytest.raises(WireError):
            arrays_of(message, wrong)
