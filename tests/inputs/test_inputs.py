"""Inputs: what is sent stands in the session with its time, on the frames' clock, whatever else happens."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq
from live_inputs import entry, free_port, run

from streamfluo import Block, ConfigError, SessionError, open_session, open_source
from streamfluo.core.errors import WireError
from streamfluo.core.input import value_of
from streamfluo.engine import listening as listening_module
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.inputs.opening import open_input
from streamfluo.session.export import export_session


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (b"3.5", (3.5,)),
        (b"1, 2;3\r\n", (1.0, 2.0, 3.0)),
        (b"[1, 2.5]", (1.0, 2.5)),
        (b"nan 4", (float("nan"), 4.0)),
        (b'{"trial": 3}', '{"trial": 3}'),
        (b"stimulus on", "stimulus on"),
        (b"7\0", (7.0,)),
    ],
)
def test_a_message_is_numbers_or_text(message, value):
    assert str(value_of(message)) == str(value)


@pytest.mark.parametrize("message", [b"", b"\xff\xfe", b"x" * 2000, b"1 " * 9000, b"[" * 5000])
def test_what_is_neither_is_refused(message):
    with pytest.raises(WireError):
        value_of(message)


def test_samples_stand_on_the_frames_clock(tmp_path):
    context, port = zmq.Context(), free_port()
    publisher = context.socket(zmq.PUB)
    endpoint = f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}"
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def each(n):
        publisher.send_multipart([b"wheel", json.dumps([n, -n]).encode()])
        if n % 10 == 0:
            udp.sendto(f"trial {n // 10}".encode(), ("127.0.0.1", port))

    text = entry("wheel", f"sub+{endpoint}") + entry("trials", f"udp://127.0.0.1:{port}")
    session = run(tmp_path, text, 150, each)
    udp.close()
    context.destroy(0)
    wheel, trials = (session.recorded_inputs.by_name[name] for name in ("wheel", "trials"))
    assert wheel.value[-1].tolist() == [149, -149]
    assert trials.value.tolist() == [f"trial {n}" for n in range(15)]
    late_ms = trials.t_ns / 1e6 - 200 * np.arange(15)
    assert abs(np.median(late_ms)) < 15  # sent just before its frame; the frame's own way here is in the clock
    aligned = session.aligned("wheel")
    assert aligned.shape == (150, 2)
    error = np.abs(aligned[20:, 0] - np.arange(20, 150))  # a subscription takes its time
    assert np.median(error) <= 1
    assert 0 < wheel.clock.error_ns < 10e6
    assert session.health["inputs"]["trials"]["samples"] == 15
    assert not session.damaged
    export_session(session, "csv", tmp_path / "csv")
    rows = (tmp_path / "csv" / "input.trials.csv").read_text().splitlines()
    assert (rows[0], rows[-1].split(",")[1]) == ("t_s,text", "trial 14")
    assert (tmp_path / "csv" / "input.wheel.csv").read_text().splitlines()[-1].endswith(",149.0,-149.0")
    export_session(session, "npy", tmp_path / "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "npy" / "input.wheel.npz")["t_ns"], wheel.t_ns)
    with pytest.raises(SessionError, match="no input 'whell'; did you mean 'wheel'"):
        session.aligned("whell")
    with pytest.raises(SessionError, match="texts have no value between two"):
        session.aligned("trials")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_serial_line_and_a_device_that_is_unplugged(tmp_path):
    pytest.importorskip("serial", reason="needs the extra [devices]")
    import pty

    ours, theirs = pty.openpty()

    def each(n):
        if n < 50:
            os.write(ours, f"{n};1\n".encode())
        elif n == 60:
            os.close(ours)

    session = run(tmp_path, entry("licks", f"serial:{os.ttyname(theirs)}"), 150, each)
    assert session.recorded_inputs.by_name["licks"].value[:, 0].tolist() == list(range(50))
    assert session.frames == 150
    assert "input lost" in [event["event"] for event in session.events]


def test_markers_of_the_lab_streaming_layer(tmp_path):
    pylsl = pytest.importorskip("pylsl", reason="needs the extra [devices]")
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("sf-eyes", "Gaze", 2, 50, "float32", "sf-eyes-test"))

    def each(n):
        outlet.push_sample([n, 2.0 * n])

    session = run(tmp_path, entry("eyes", "lsl:sf-eyes"), 150, each)
    eyes = session.recorded_inputs.by_name["eyes"]
    assert eyes.value[-1].tolist() == [149, 298]
    off = np.abs(session.aligned("eyes")[:, 0] - np.arange(150))
    assert np.isfinite(off).sum() >= 140, "only the first frames may have come before the first sample"
    assert np.nanmedian(off) <= 1


def test_what_is_odd_in_a_stream_is_counted(tmp_path):
    port = free_port()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    messages = iter([b"1 2", b"3", b"\xff", b"text", b"4 5", b""])

    def each(n):
        if n > 5 and (message := next(messages, None)) is not None:
            udp.sendto(message, ("127.0.0.1", port))

    text = entry("odd", f"udp://127.0.0.1:{port}").rstrip() + "\nsilent_s = 0.3\n"
    session = run(tmp_path, text, 60, each)
    udp.close()
    facts = session.health["inputs"]["odd"]
    assert session.recorded_inputs.by_name["odd"].value.tolist() == [[1, 2], [4, 5]]
    assert (facts["of another width"], facts["not text"], facts["empty"]) == (2, 1, 1)
    assert "input silent" in [event["event"] for event in session.events]


RECORDER = """
import sys, time
from live_inputs import Live, entry, parse_config, Engine
from pathlib import Path
engine = Engine(Live(100000), parse_config(sys.argv[1]), Path(sys.argv[2]), resume=len(sys.argv) > 3)
engine.start()
print("runs", flush=True)
engine.wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_killed_with_three_inputs_nothing_older_than_half_a_second_is_lost(tmp_path):
    ports = [free_port() for _ in range(3)]
    text = "".join(entry(f"in{n}", f"udp://127.0.0.1:{port}") for n, port in enumerate(ports))
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    over, sent = threading.Event(), []

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for n in range(10**6):
                if over.wait(0.005):
                    return
                for port in ports:
                    udp.sendto(str(n).encode(), ("127.0.0.1", port))
                sent.append((n, time.monotonic()))

    def recorder(*more):
        call = [sys.executable, "-c", RECORDER, text, str(tmp_path / "S"), *more]
        started = subprocess.Popen(call, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True)
        assert started.stdout.readline() == "runs\n"
        return started

    process = recorder()
    sender = threading.Thread(target=send)
    sender.start()
    last = []
    for turn in range(2):
        time.sleep(2)
        process.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        process.communicate()
        for n in range(3):
            found = open_session(tmp_path / "S").recorded_inputs.by_name[f"in{n}"].value[:, 0]
            older = max(number for number, at_s in sent if at_s < killed_s - 0.5)
            assert found.max() >= older
            last.append(found)
        if not turn:
            process = recorder("resume")
    over.set()
    sender.join()
    for before, after in zip(last[:3], last[3:], strict=True):
        np.testing.assert_array_equal(after[: len(before)], before)  # the second run went on behind the first
        assert len(np.unique(after)) == len(after)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            entry("a", "upd://127.0.0.1:9"),
            "input 'a': 'upd://127.0.0.1:9': no input of scheme 'upd'; did you mean 'udp'?",
        ),
        (entry("a", "udp://0.0.0.0:9"), "taken from this machine alone"),
        (entry("a", "lsl:nobody-has-this-name"), "no stream 'nobody-has-this-name'"),
        (
            entry("frames", "udp://127.0.0.1:0"),
            "input 'frames' must be a letter, then letters, digits, - or _; not 'fr",
        ),
        (entry("../x", "udp://127.0.0.1:0"), "input '../x' must be"),
        (entry("a", "udp://127.0.0.1:0") * 2, "two inputs are called 'a'"),
        ('[[input]]\nname = "a"', "input number 1: parameter 'uri' is missing"),
    ],
)
def test_an_input_that_cannot_be_is_refused_before_frames_flow(tmp_path, text, says):
    with pytest.raises(ConfigError) as error:
        run(tmp_path, text, 1)
    assert says in str(error.value)
    assert not (tmp_path / "S").exists()


def test_no_two_take_the_same_port():
    first = open_input("udp://127.0.0.1:0")
    with pytest.raises(ConfigError, match="cannot bind"):
        open_input(f"udp://127.0.0.1:{first.port}")
    first.close()


def test_an_nwb_has_them_on_its_own_time(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="needs the extra [nwb]")
    ports = [free_port(), free_port()]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def each(n):
        udp.sendto(f"{n} 7".encode(), ("127.0.0.1", ports[0]))
        udp.sendto(b"go", ("127.0.0.1", ports[1]))

    text = "[record]\nraw = true\n" + "".join(
        entry(f"in{n}", f"udp://127.0.0.1:{port}") for n, port in enumerate(ports)
    )
    session = run(tmp_path, text, 30, each)
    udp.close()
    export_session(session, "nwb", tmp_path / "E")
    with pynwb.NWBHDF5IO(tmp_path / "E" / "frames.nwb", "r") as file:
        whole = file.read()
        found = whole.acquisition
        assert found["input-in0"].data[-1].tolist() == [29, 7]
        np.testing.assert_array_equal(found["input-in0"].timestamps, session.recorded_inputs.by_name["in0"].t_ns / 1e9)
        assert set(whole.intervals["input-in1"]["text"][:]) == {"go"}


def test_values_of_the_chain_are_those_that_were_recorded_and_a_rerun_gives_them_again(tmp_path):
    ports = [free_port(), free_port()]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def each(n):
        udp.sendto(f"{n} {2 * n}".encode(), ("127.0.0.1", ports[0]))
        if n % 20 == 5:
            udp.sendto(b"left" if n % 40 == 5 else b"right", ("127.0.0.1", ports[1]))

    text = "[record]\nraw = true\n"
    text += entry("wheel", f"udp://127.0.0.1:{ports[0]}") + entry("side", f"udp://127.0.0.1:{ports[1]}")
    text += '[[step]]\nkind = "input"\nid = "wheel"\nparams = { name = "wheel", columns = 2 }\n'
    text += '[[step]]\nkind = "input"\nid = "side"\nparams = { name = "side", labels = ["left", "right"] }\n'
    text += '[[step]]\nkind = "trigger"\nparams = { when = "wheel.value[0] > 50 and side.label == 1" }\n'
    session = run(tmp_path, text, 120, each)
    udp.close()
    wheel, side = session.values("wheel")["value"], session.values("side")["label"]
    assert np.nanmedian(np.arange(120) - wheel[:, 0]) <= 3  # the newest that came, not one of the future
    assert (np.arange(120)[30:] >= wheel[30:, 0]).all()
    np.testing.assert_array_equal(wheel[30:, 1], 2 * wheel[30:, 0])
    assert set(side[30:].tolist()) == {0.0, 1.0}
    fired = session.values("trigger")["fired"]
    assert fired.sum() >= 2
    with open_source(tmp_path / "S") as source:
        again = Engine(source, parse_config(text, "c.toml"), tmp_path / "T")
        again.start()
        assert again.wait(60)
    for step, name in (("wheel", "value"), ("side", "label"), ("trigger", "fired")):
        np.testing.assert_array_equal(open_session(tmp_path / "T").values(step)[name], session.values(step)[name])


def test_times_of_frames_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr(listening_module, "MAX_ARRIVALS", 20)
    arrivals = listening_module.Arrivals()
    for n in range(0, 40, 8):
        arrivals.put(Block(n, np.arange(8), np.zeros((8, 2, 2), np.uint16)), 7)
    assert [sample.value[0] for sample in arrivals.read(0.0)] == list(range(16))
    assert arrivals.refused == {"too many wait": 24}
