"""The journal: what was written is read back to the bit, and whatever tears it, the frames before stay readable."""

import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from systems import needs_limits

from streamfluo import Block, SessionError
from streamfluo.session import journal as journal_module
from streamfluo.session.journal import JournalReader, JournalWriter
from streamfluo.session.record_file import RecordFile, scan_records

RNG = np.random.default_rng(5)
FRAMES = RNG.integers(0, 2**16, (40, 6, 5)).astype(np.uint16)


def block(start, stop, frames=FRAMES):
    return Block(start, np.arange(start, stop) * 1000, frames[start:stop])


def written(folder, *runs, frames=FRAMES):
    writer = JournalWriter(folder, "series")
    for start, stop in runs:
        writer.append(block(start, stop, frames))
    writer.close()
    return folder / "000000.sfj"


def places(path):
    """(start, stop) of every record."""
    return [(record.start, record.stop) for record in scan_records(path, path.read_bytes())]


def readable(folder):
    """index → frame of everything that can be read."""
    return {frame.number: frame.pixels for frame in JournalReader(folder, "series").read(0, 10**9)}


def test_every_frame_comes_back_to_the_bit_with_its_time(tmp_path):
    written(tmp_path, (0, 1), (1, 33), (33, 40))
    reader = JournalReader(tmp_path, "series")
    assert reader.indices.tolist() == list(range(40))
    for index, t_ns, pixels, _ in reader.read(0, 40):
        assert t_ns == index * 1000
        assert np.array_equal(pixels, FRAMES[index])
        assert pixels.dtype == np.uint16


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8"])
def test_every_dtype_a_stream_can_have_comes_back(tmp_path, dtype):
    frames = FRAMES.astype(dtype)
    written(tmp_path, (0, 5), frames=frames)
    (got,) = JournalReader(tmp_path, "series").blocks()
    assert got.pixels.dtype == np.dtype(dtype)
    assert np.array_equal(got.pixels, frames[:5])


def test_a_range_gives_the_existing_frames_in_it(tmp_path):
    written(tmp_path, (0, 5), (10, 20))
    reader = JournalReader(tmp_path, "series")
    assert [n for n, *_ in reader.read(3, 12)] == [3, 4, 10, 11]
    assert list(reader.read(5, 10)) == []
    assert list(reader.read(20, 99)) == []


def test_blocks_are_cut_at_gaps_and_at_their_largest_size(tmp_path):
    written(tmp_path, (0, 5), (10, 40))
    blocks = list(JournalReader(tmp_path, "series").blocks(max_frames=16))
    assert [(b.index, b.stop) for b in blocks] == [(0, 5), (10, 26), (26, 40)]
    assert np.array_equal(np.concatenate([b.pixels for b in blocks[1:]]), FRAMES[10:])


def test_an_empty_journal_has_no_frames(tmp_path):
    JournalWriter(tmp_path, "series").close()
    assert list(JournalReader(tmp_path, "series").blocks()) == []
    assert JournalReader(tmp_path / "nowhere", "series").indices.tolist() == []


def test_a_full_file_is_followed_by_the_next_and_resumed_there(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 1000)
    written(tmp_path, *((n, n + 4) for n in range(0, 20, 4)))
    assert len(list(tmp_path.glob("*.sfj"))) > 2
    writer = JournalWriter(tmp_path, "series")
    assert (writer.frames, writer.next_index) == (20, 20)
    writer.append(block(20, 24))
    writer.close()
    assert sorted(readable(tmp_path)) == list(range(24))


# What a crash leaves


def test_cut_at_any_byte_what_is_whole_is_read_and_resumed(tmp_path):
    path = written(tmp_path, (0, 4), (4, 8))
    data = path.read_bytes()
    stops = [stop for _, stop in places(path)]
    assert stops[-1] == len(data)
    edges = {stop + by for stop in stops for by in (-1, 0, 1)}
    for cut in sorted({*random.Random(3).sample(range(len(data)), 60), *edges} - {len(data) + 1}):
        path.write_bytes(data[:cut])
        whole = sum(stop <= cut for stop in stops)
        assert sorted(readable(tmp_path)) == list(range(whole)), f"cut at {cut}"
        writer = JournalWriter(tmp_path, "series")
        assert (writer.frames, writer.next_index) == (whole, whole)
        writer.append(block(whole, 8)) if whole < 8 else None
        writer.close()
        assert path.read_bytes() == data, f"resumed after a cut at {cut}"


@pytest.mark.parametrize("tail", [b"\0" * 64, b"\0" * 4096, b"garbage", b"SFLUORC2", b"SFLUORC1\xff\xff\xff\xff"])
def test_rubbish_behind_the_last_record_is_put_aside_on_resume(tmp_path, tail):
    path = written(tmp_path, (0, 4))
    data = path.read_bytes()
    path.write_bytes(data + tail)
    assert sorted(readable(tmp_path)) == [0, 1, 2, 3]
    JournalWriter(tmp_path, "series").close()
    assert path.read_bytes() == data
    assert (tmp_path / f"{path.name}.torn-{len(data)}").read_bytes() == tail


@pytest.mark.parametrize("behind", [b"", b"\0" * 64], ids=["nothing behind", "zeros behind"])
def test_a_torn_last_record_of_full_length_is_not_taken_for_a_frame(tmp_path, behind):
    path = written(tmp_path, (0, 4))
    data = bytearray(path.read_bytes())
    *_, (start, stop) = places(path)
    at = data.index(FRAMES[3].tobytes(), start, stop) + 8
    data[at:stop] = bytes(stop - at)  # pages that never reached the disk
    path.write_bytes(data + behind)
    assert sorted(readable(tmp_path)) == [0, 1, 2]
    writer = JournalWriter(tmp_path, "series")
    assert (writer.frames, writer.next_index) == (3, 3)
    writer.append(block(3, 4))
    writer.close()
    assert sorted(readable(tmp_path)) == [0, 1, 2, 3]


def test_damage_in_the_middle_names_the_frame_and_leaves_the_others(tmp_path):
    path = written(tmp_path, (0, 8))
    data = bytearray(path.read_bytes())
    start, stop = places(path)[3]
    at = data.index(FRAMES[3].tobytes(), start, stop)
    data[at + 7] ^= 1
    path.write_bytes(data)
    reader = JournalReader(tmp_path, "series")
    assert reader.indices.tolist() == list(range(8))
    assert [n for n, *_ in reader.read(0, 8)] == [0, 1, 2, 4, 5, 6, 7]
    (damage,) = reader.damaged
    assert str(damage).endswith(f"000000.sfj, byte {start}: frame 3: damaged (crc differs)")


def test_damage_in_a_length_costs_its_frame_alone_also_on_resume(tmp_path):
    path = written(tmp_path, (0, 8))
    data = bytearray(path.read_bytes())
    start, stop = places(path)[3]
    at = data.index(b"nbytes", start, stop) + 6
    for bit in range(8):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        reader = JournalReader(tmp_path, "series")
        assert reader.indices.tolist() == [0, 1, 2, 4, 5, 6, 7]
        assert [damage.start for damage in reader.damaged] == [start]
        JournalWriter(tmp_path, "series").close()
        assert path.stat().st_size == len(data)
    assert not list(tmp_path.glob("*.torn-*"))


def test_a_file_of_another_series_is_refused_and_one_that_is_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 500)
    written(tmp_path / "a", *((n, n + 4) for n in range(0, 12, 4)))
    writer = JournalWriter(tmp_path / "b", "other")
    writer.append(block(20, 24))
    writer.close()
    (tmp_path / "b" / "000000.sfj").replace(tmp_path / "a" / "000001.sfj")
    reader = JournalReader(tmp_path / "a", "series")
    assert reader.indices.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert {damage.reason for damage in reader.damaged} == {"a frame of another series, 'other'"}
    with pytest.raises(SessionError, match="a frame of another series, 'other'; take it out of this journal"):
        JournalWriter(tmp_path / "a", "series")
    (tmp_path / "a" / "000001.sfj").unlink()
    assert [str(d) for d in JournalReader(tmp_path / "a", "series").damaged] == [
        "a/000001.sfj, byte 0: the file is missing"
    ]


# A disk that refuses bytes


def test_a_refused_block_leaves_whole_records_only(tmp_path, monkeypatch):
    writer = JournalWriter(tmp_path, "series")
    writer.append(block(0, 4))
    real = RecordFile._write

    def half(self, buffer):
        real(self, buffer[: len(buffer) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordFile, "_write", half)
    with pytest.raises(OSError, match="No space left"):
        writer.append(block(4, 8))
    monkeypatch.undo()
    assert writer.next_index == 4
    writer.append(block(4, 6))
    writer.close()
    assert sorted(readable(tmp_path)) == list(range(6))


class Reluctant:
    """A file that takes seven bytes at a time."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        return self._file.write(data[:7])

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_writes_that_take_a_few_bytes_at_a_time_still_make_whole_records(tmp_path):
    writer = JournalWriter(tmp_path, "series")
    writer._file._file = Reluctant(writer._file._file)
    writer.append(block(0, 3))
    writer.close()
    assert np.array_equal(np.stack(list(readable(tmp_path).values())), FRAMES[:3])


def test_a_block_of_many_frames_is_written_whole(tmp_path):
    frames = np.arange(900, dtype=np.uint16)[:, None, None]
    written(tmp_path, (0, 900), frames=frames)
    assert [int(p[0, 0]) for p in readable(tmp_path).values()] == list(range(900))


@needs_limits
def test_on_a_disk_that_fills_up_what_was_written_before_stays_readable(tmp_path):
    script = f"""
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    import numpy as np
    from pathlib import Path
    from streamfluo import Block
    from streamfluo.session.journal import JournalWriter
    writer = JournalWriter(Path({str(tmp_path)!r}), "series")
    try:
        for n in range(1000):
            writer.append(Block(n, [n], np.full((1, 16, 16), n, np.uint16)))
    except OSError as error:
        writer.close()
        print(error.errno, writer.next_index)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    errno, frames = map(int, done.stdout.split())
    assert errno == 27
    assert frames > 10
    got = readable(tmp_path)
    assert sorted(got) == list(range(frames))
    assert all((pixels == index).all() for index, pixels in got.items())
