"""What a run leaves behind is whole: events from every thread, frames behind gaps, names that survive a power cut."""

import json
import os
import threading
import tracemalloc

import numpy as np
import pytest
from systems import needs_proc
from toys import FRAMES, LEVEL, Movie, a, block, config, toys  # noqa: F401

from streamfluo import Block, SessionError, open_session
from streamfluo.core.source import Gap
from streamfluo.engine.engine import Engine
from streamfluo.session import files, journal, referenced
from streamfluo.session.files import LineFile, save_json
from streamfluo.session.journal import JournalReader, JournalWriter, RecordFile


def test_lines_written_by_three_threads_are_all_there_once(tmp_path):
    for trial in range(20):
        file = LineFile(tmp_path / f"{trial}.jsonl")

        def write(thread, file=file):
            for n in range(200):
                file.append(json.dumps({"thread": thread, "n": n}))

        threads = [threading.Thread(target=write, args=(t,)) for t in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        file.close()
        lines = [json.loads(line) for line in (tmp_path / f"{trial}.jsonl").read_text().splitlines()]
        for t in range(3):
            assert [line["n"] for line in lines if line["thread"] == t] == list(range(200))


class Referenced(Movie):
    """A movie with a gap that can be read again, as a file with a hole can."""

    def blocks(self, max_frames=32):
        for item in super().blocks(max_frames):
            if not (isinstance(item, Gap) and item.first < self.start):
                yield item


def test_frames_behind_a_gap_of_a_referenced_source_are_read_as_they_are(tmp_path, monkeypatch):
    items = [block(0, 30), Gap(30, 30, "camera"), block(60, 120)]
    engine = Engine(Referenced(items, seekable=True), config(LEVEL), tmp_path / "S")
    engine.start()
    assert engine.wait(30)
    monkeypatch.setattr(referenced, "open_source", lambda uri: Referenced(items, seekable=True))
    session = open_session(tmp_path / "S")
    assert (session.frames, session.lost) == (90, 30)
    assert np.array_equal(session.read_frames(0, 1000), FRAMES[[*range(30), *range(60, 120)]])
    assert np.array_equal(session.read_frames(60, 120), FRAMES[60:120])
    assert np.array_equal(session.read_frames(25, 65), FRAMES[[*range(25, 30), *range(60, 65)]])


def test_a_referenced_source_is_not_read_beyond_what_the_run_saw(tmp_path, monkeypatch):
    items = [block(0, 30), Gap(30, 30, "camera"), block(60, 120)]
    engine = Engine(Referenced(items, seekable=True), config(LEVEL), tmp_path / "S", max_frames=50)
    engine.start()
    assert engine.wait(30)
    monkeypatch.setattr(referenced, "open_source", lambda uri: Referenced(items, seekable=True))
    assert np.array_equal(open_session(tmp_path / "S").read_frames(0, 1000), FRAMES[[*range(30), *range(60, 80)]])


@pytest.fixture
def synced(monkeypatch):
    """The folders whose names were synced to disk."""
    folders, fsync = [], os.fsync

    def note(descriptor):
        folders.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", note)
    return folders


@needs_proc
def test_a_renamed_file_is_followed_by_its_folder(tmp_path, synced):
    save_json(tmp_path / "health.json", {"frames": 3})
    assert str(tmp_path) in synced


@needs_proc
def test_a_new_segment_is_followed_by_its_folder(tmp_path, synced, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1000)
    writer = JournalWriter(tmp_path / "journal", "series")
    synced.clear()
    for n in range(8):
        writer.append(block(n, n + 1))
    writer.close()
    segments = len(list((tmp_path / "journal").glob("*.sfj")))
    assert segments > 1
    assert synced.count(str(tmp_path / "journal")) == segments - 1


@needs_proc
def test_a_new_file_of_records_is_followed_by_its_folder(tmp_path, synced):
    RecordFile(tmp_path / "v.sfv").close()
    assert str(tmp_path) in synced


def test_a_journals_reader_holds_less_than_40_bytes_a_frame(tmp_path):
    writer = JournalWriter(tmp_path / "journal", "series")
    for start in range(0, 4000, 400):
        writer.append(Block(start, np.arange(start, start + 400), FRAMES))
    writer.close()
    tracemalloc.start()
    read = JournalReader(tmp_path / "journal", "series")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40 * 4000
    assert np.array_equal(np.stack([frame.pixels for frame in read.read(100, 300)]), FRAMES[100:300])


def test_of_a_frame_written_twice_the_last_one_counts(tmp_path):
    for start, stop in ((0, 20), (10, 30)):
        writer = JournalWriter(tmp_path / "journal", "series")
        writer.append(block(start, stop))
        writer.close()
    read = JournalReader(tmp_path / "journal", "series")
    assert read.indices.tolist() == list(range(30))
    assert np.array_equal(np.stack([frame.pixels for frame in read.read(0, 30)]), FRAMES[:30])


def test_an_engine_that_cannot_be_built_leaves_no_lock_and_no_folder(tmp_path):
    import zmq

    socket = zmq.Context.instance().socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    from streamfluo import SourceError
    from streamfluo.engine.config import parse_config

    busy = parse_config(f"[[step]]\n{LEVEL}\n[publish]\nuri = 'tcp://127.0.0.1:{port}'", "run.toml")
    with pytest.raises(SourceError, match="another program uses this port"):
        Engine(Movie([block(0, 30)]), busy, tmp_path / "S")
    socket.close()
    assert not (tmp_path / "S").exists()
    engine = Engine(Movie([block(0, 30)]), config(LEVEL), tmp_path / "S")
    engine.start()
    assert engine.wait(30)
    assert open_session(tmp_path / "S").frames == 30


def test_a_session_that_was_there_stays_when_an_engine_cannot_be_built(tmp_path):
    first = Engine(Movie([block(0, 30)]), config(LEVEL), tmp_path / "S")
    first.start()
    assert first.wait(30)
    with pytest.raises(SessionError, match="already holds this series"):
        Engine(Movie([block(0, 30)]), config(LEVEL), tmp_path / "S")
    assert open_session(tmp_path / "S").frames == 30
