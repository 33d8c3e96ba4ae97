"""Inputs beside a disk that refuses, and files of inputs that no run wrote."""

import errno
import socket

import numpy as np
import pytest
from live_inputs import entry, free_port, run

from streamfluo import open_session
from streamfluo.core.step_values import StepValues
from streamfluo.session import inputs as inputs_module
from streamfluo.session.disk_calls import DiskCalls
from streamfluo.session.inputs import InputWriter, inputs_folder
from streamfluo.session.record_file import RecordFile
from streamfluo.session.values import StepRecords

FORGED = {
    "no times": {"value": np.zeros((3, 1))},
    "times of another length": {"t_ns": np.zeros(2, np.int64), "value": np.zeros((3, 1))},
    "times as numbers": {"t_ns": np.zeros(3), "value": np.zeros((3, 1))},
    "values of bytes": {"t_ns": np.zeros(3, np.int64), "value": np.zeros((3, 1), np.uint8)},
    "a cube": {"t_ns": np.zeros(3, np.int64), "value": np.zeros((3, 1, 2))},
    "times beyond all": {"t_ns": np.full(3, 1 << 62), "value": np.zeros((3, 1))},
    "frames of another length": {"t_ns": np.zeros(3, np.int64), "value": np.zeros((3, 1)), "frame": np.arange(2)},
    "own times of text": {"t_ns": np.zeros(3, np.int64), "value": np.zeros((3, 1)), "own_ns": np.array(["a"] * 3)},
    "frames that are no numbers": {"t_ns": np.zeros(3, np.int64), "value": np.zeros((3, 1)), "frame": np.zeros(3)},
}


@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize("name", ["wheel", "frames"])
def test_a_file_that_no_run_wrote_is_damaged_and_the_rest_is_read(tmp_path, what, name):
    session = run(tmp_path, "[record]\nraw = true\n" + entry("other", f"udp://127.0.0.1:{free_port()}"), 5)
    path = session.path / "inputs" / f"{name}.sfv"
    path.unlink(missing_ok=True)
    writer = InputWriter(session.path, name, session.series["uid"], DiskCalls())
    writer._values.add(StepValues(name, 0, 3, FORGED[what], 100))
    writer.close()
    again = open_session(session.path)
    assert any(damage.file == path for damage in again.damaged)
    assert again.frames == 5
    assert name not in again.recorded_inputs.by_name


def test_frames_that_are_no_numbers_are_damaged(tmp_path):
    session = run(tmp_path, "[record]\nraw = true\n" + entry("other", f"udp://127.0.0.1:{free_port()}"), 5)
    path = session.path / "inputs" / "frames.sfv"
    path.unlink()
    writer = InputWriter(session.path, "frames", session.series["uid"], DiskCalls())
    writer.add({"t_ns": np.zeros(3, np.int64), "value": np.full((3, 2), np.nan)})
    writer.close()
    assert "not what a run writes" in str(open_session(session.path).damaged[0])


def test_a_disk_that_refuses_for_a_while_ends_nothing_and_loses_no_sample(tmp_path, monkeypatch):
    port, full = free_port(), [False]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    refuse_inputs(monkeypatch, full)

    def each(n):
        full[0] = 20 <= n < 80
        udp.sendto(f"{n}".encode(), ("127.0.0.1", port))

    session = run(tmp_path, "[record]\nraw = true\n" + entry("wheel", f"udp://127.0.0.1:{port}"), 120, each)
    udp.close()
    assert session.frames == 120
    assert session.recorded_inputs.by_name["wheel"].value[:, 0].tolist() == list(range(120))
    assert session.recorded_inputs.index.tolist() == list(range(120))


def refuse_inputs(monkeypatch, full):
    """A disk that has no room for inputs while `full[0]`."""
    append = RecordFile.append

    def refusing(self, record):
        if full[0] and self.path.parent.name == "inputs":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, record)

    monkeypatch.setattr(RecordFile, "append", refusing)


def test_what_waits_for_a_disk_is_bounded_and_the_oldest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs_module, "MAX_WAITING_BYTES", 100_000)
    refuse_inputs(monkeypatch, full := [False])
    writer = InputWriter(tmp_path, "wheel", "uid", DiskCalls())

    def add(first, count=10):
        t_ns = np.arange(first, first + count) * 1_000_000
        writer.add({"t_ns": t_ns, "value": np.arange(first, first + count, dtype=float)[:, None]})

    for first in range(0, 100, 10):
        add(first)
    writer.flush()
    full[0] = True
    for first in range(100, 10_100, 10):
        add(first)
        assert writer.waiting * 16 < 100_000
        if first == 150:
            writer.flush()  # tried; it is not due again for a quarter second
    assert writer.refused == "No space left on device"
    kept = writer.waiting
    assert kept + writer.dropped == 10_000
    full[0] = False
    writer.flush()
    assert not writer.refused
    add(10_100)
    writer.close()
    records = StepRecords(inputs_folder(tmp_path) / "wheel.sfv", "uid")
    assert not records.damaged
    value = np.concatenate([arrays["value"][:, 0] for arrays in records.arrays])
    expected = [*range(100 + kept), *range(10_100, 10_110)]  # all that was on the disk, the oldest, and one gap
    assert value.tolist() == records.index.tolist() == expected


def test_what_waits_is_tried_again_a_piece_at_a_time(tmp_path, monkeypatch):
    refuse_inputs(monkeypatch, full := [True])
    sizes, append = [], RecordFile.append
    monkeypatch.setattr(RecordFile, "append", lambda self, r: (sizes.append(sum(map(len, r))), append(self, r)))
    writer = InputWriter(tmp_path, "wheel", "uid", DiskCalls())
    for n in range(60):
        t_ns = n * 10_000 + np.arange(10_000)
        writer.add({"t_ns": t_ns, "value": np.zeros((10_000, 1))})
    assert max(sizes) < 2 << 20
    full[0] = False
    writer.flush()
    assert writer.waiting == 0
    writer.close()
    records = StepRecords(inputs_folder(tmp_path) / "wheel.sfv", "uid")
    assert records.index.tolist() == list(range(600_000))


def test_what_is_dropped_is_counted_and_said_when_it_begins_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs_module, "MAX_WAITING_BYTES", 6000)
    refuse_inputs(monkeypatch, full := [False])
    port, udp = free_port(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def each(n):
        full[0] = 10 <= n < 50
        udp.sendto(f"{n}".encode(), ("127.0.0.1", port))

    session = run(tmp_path, "[record]\nraw = true\n" + entry("wheel", f"udp://127.0.0.1:{port}"), 70, each)
    udp.close()
    told = [event for event in session.events if event.get("input") == "wheel"]
    assert [event["event"] for event in told] == ["input dropped", "input kept again"]
    dropped = told[1]["samples"]
    assert dropped > 0
    assert session.health["inputs"]["wheel"]["dropped while the disk refused"] == dropped
    value = session.recorded_inputs.by_name["wheel"].value[:, 0]
    missing = np.setdiff1d(np.arange(70), value)
    assert len(missing) == dropped
    assert (np.diff(missing) == 1).all()  # one stretch
    assert session.frames == 70
