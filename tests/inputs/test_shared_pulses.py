"""Shared pulses in a session: an input's clock is set by the pulses that frames recorded too, or is undetermined."""

import numpy as np
import pytest
from live_inputs import free_port, run
from typer.testing import CliRunner

from streamfluo import ConfigError, SessionError, open_session
from streamfluo.cli.cli import app
from streamfluo.engine.config import parse_config
from streamfluo.session.disk_calls import DiskCalls
from streamfluo.session.inputs import InputWriter

UTC = 1_790_000_000 * 10**9
SECONDS, CAMERA_LATE_MS = 60, 8.0
FRAME_S = 1 / 30
TTL = '[[input]]\nname = "ttl"\nuri = "frame:TTL"\n'


def daq(pulses):
    return f'[[input]]\nname = "daq"\nuri = "udp://127.0.0.1:{free_port()}"\npulses = {pulses}\n'


def written(session, name, **arrays):
    path = session.path / "inputs" / f"{name}.sfv"
    path.unlink(missing_ok=True)
    writer = InputWriter(session.path, name, session.series["uid"], DiskCalls())
    writer.add(arrays)
    writer.close()


def recorded(tmp_path, text, frames_s, begins_s, seed):
    """A minute as a run would leave it: a camera whose frames come 8 ms late, a board of 1 kHz whose clock is 50 ppm
    fast and whose samples come 40 ms late in tens, both with a line that is high for .1 s from `begins_s` on."""
    rng = np.random.default_rng(seed)
    session = run(tmp_path, text, 3)
    line = np.concatenate([begins_s, begins_s + 0.1])

    def high(at_s):
        return np.isin(np.searchsorted(np.sort(line), at_s, side="right") % 2, 1).astype(float)

    came = UTC + np.rint((frames_s + CAMERA_LATE_MS / 1e3 + rng.exponential(1e-3, len(frames_s))) * 1e9).astype(
        np.int64
    )
    frame_ns = np.rint(frames_s * 1e9).astype(np.int64)
    index = np.arange(len(frames_s))
    written(session, "frames", t_ns=came, value=np.column_stack((index, frame_ns)).astype(float))
    written(session, "ttl", t_ns=frame_ns, value=high(frames_s)[:, None], frame=index)
    at_s = np.arange(0, SECONDS, 1e-3)
    own_ns = 5 * 10**12 + np.rint(at_s * (1 + 50e-6) * 1e9).astype(np.int64)
    late_s = np.repeat(at_s[9::10] + 0.04 + rng.exponential(2e-3, len(at_s) // 10), 10)
    arrived = UTC + np.rint(np.maximum.accumulate(late_s) * 1e9).astype(np.int64)
    value = np.column_stack((at_s, 5 * high(at_s) + rng.normal(0, 0.05, len(at_s))))
    written(session, "daq", t_ns=arrived, value=value, own_ns=own_ns)
    return open_session(session.path)


def irregular(seed, low_s=0.3, high_s=0.9):
    begins_s = np.cumsum(np.random.default_rng(seed).uniform(low_s, high_s, 300)) + 1
    return begins_s[begins_s < SECONDS - 1]


def off_ms(session):
    """How far the times of the board's samples are from when they were taken, by the frames' clock [ms]."""
    one = session.recorded_inputs.by_name["daq"]
    return (one.t_ns / 1e9 - one.value[:, 0]) * 1e3


def test_a_line_that_frames_recorded_takes_away_the_delays(tmp_path):
    frames_s = np.arange(0, SECONDS, FRAME_S)
    text = TTL + daq('{ of = "ttl", column = 1, level = 2.5 }')
    session = recorded(tmp_path, text, frames_s, irregular(9501), 9501)
    one = session.recorded_inputs.by_name["daq"]
    assert one.undetermined == ""
    assert one.pulses > 90
    assert np.abs(off_ms(session)).max() < 3 * one.clock.error_ns / 1e6 < 9  # of frames 33 ms apart, by a hundred
    by_arrival = (one.arrival_t_ns / 1e9 - one.value[:, 0]) * 1e3
    assert np.median(by_arrival) > 25  # 40 ms late, less the camera's delay
    aligned = session.aligned("daq")[:, 0]
    error_ms = (aligned - (frames_s - session.spec.interval_s / 2)) * 1e3
    assert np.abs(np.nanmedian(error_ms)) < 3
    assert np.nanmedian(session.aligned("daq", by_arrival=True)[:, 0] - aligned) * 1e3 < -25
    said = CliRunner().invoke(app, ["inspect", str(session.path)], env={"COLUMNS": "200"}).stdout
    assert f"by {one.pulses} pulses" in said
    assert not session.damaged


def test_a_pulse_of_each_frame_sets_the_clock_to_a_fifth_of_a_millisecond(tmp_path):
    """A camera that is triggered at uneven intervals, whose exposures the board counts."""
    frames_s = np.cumsum(np.random.default_rng(9502).uniform(0.12, 0.3, 1000))
    frames_s = frames_s[frames_s < SECONDS - 1]
    text = TTL + daq('{ of = "frames", column = 1, level = 2.5 }')
    session = recorded(tmp_path, text, frames_s, frames_s, 9502)
    one = session.recorded_inputs.by_name["daq"]
    assert one.pulses >= len(frames_s) - 2
    assert np.abs(off_ms(session)).max() < 0.2
    assert one.clock.error_ns < 0.2e6


@pytest.mark.parametrize(
    ("text", "begins_s", "why"),
    [
        (TTL + daq('{ of = "ttl", column = 1, level = 2.5 }'), np.arange(1, 59, 0.5), "irregular intervals tell them"),
        (TTL + daq('{ of = "frames", column = 1, level = 2.5 }'), np.arange(1, 59, 0.5), ""),
        (TTL + daq('{ of = "ttl", column = 1, level = 7.5 }'), irregular(9503), "0 pulses, 8 or more are needed"),
        (TTL + daq('{ of = "ttl", column = 5 }'), irregular(9503), "0 pulses, 8 or more are needed"),
        (TTL + daq('{ of = "ttl" }'), irregular(9503), ""),
    ],
)
def test_what_cannot_be_matched_is_undetermined_and_never_guessed(tmp_path, text, begins_s, why):
    session = recorded(tmp_path, text, np.arange(0, SECONDS, FRAME_S), begins_s, 9503)
    one = session.recorded_inputs.by_name["daq"]
    assert one.undetermined
    assert why in one.undetermined
    np.testing.assert_array_equal(one.t_ns, one.arrival_t_ns)
    with pytest.raises(SessionError, match=r"input 'daq': its clock is undetermined: .*by_arrival=True"):
        session.aligned("daq")
    assert np.isfinite(session.aligned("daq", by_arrival=True)[10:-10]).all()
    said = CliRunner().invoke(app, ["inspect", str(session.path)], env={"COLUMNS": "200"}).stdout
    assert "its clock undetermined" in said


def test_an_export_says_which_clock_is_undetermined(tmp_path):
    """In the file, where times have another name, and at the command."""
    text = TTL + daq('{ of = "ttl", column = 1, level = 7.5 }')
    session = recorded(tmp_path, text, np.arange(0, SECONDS, FRAME_S), irregular(9505), 9505)
    for to in ("csv", "npy"):
        call = ["export", str(session.path), "--to", to, "--out", str(tmp_path / to)]
        said = CliRunner().invoke(app, call, env={"COLUMNS": "200"}).stdout
        assert (
            "input daq: its clock is undetermined: 0 pulses, 8 or more are needed; its times are when samples" in said
        )
        assert "input ttl" not in said
    heads = [(tmp_path / "csv" / f"input.{name}.csv").read_text().partition("\n")[0].strip() for name in ("daq", "ttl")]
    assert heads == ["arrival_t_s,daq[0],daq[1]", "frame,t_s,ttl"]
    for name, times in (("daq", "arrival_t_ns"), ("ttl", "t_ns")):
        with np.load(tmp_path / "npy" / f"input.{name}.npz") as saved:
            assert set(saved) == {times, "value"}


def test_the_other_line_may_be_missing_or_text(tmp_path):
    text = TTL + daq('{ of = "ttl", column = 1, level = 2.5 }')
    session = recorded(tmp_path, text, np.arange(0, SECONDS, FRAME_S), irregular(9504), 9504)
    path = session.path / "inputs" / "ttl.sfv"
    path.unlink()
    assert "there is no 'ttl'" in open_session(session.path).recorded_inputs.by_name["daq"].undetermined
    written(session, "ttl", t_ns=np.arange(3), value=np.array(["on"] * 3), frame=np.arange(3))
    assert "3 pulses, 8 or more" in open_session(session.path).recorded_inputs.by_name["daq"].undetermined


@pytest.mark.parametrize(
    ("pulses", "says"),
    [
        ('{ of = "tll" }', "input 'daq': pulses: no other input 'tll'; did you mean 'ttl'?"),
        ('{ of = "daq" }', "pulses: no other input 'daq'"),
        ('{ of = "ttl", levl = 2.5 }', "unknown field `levl`"),
        ('{ of = "ttl", level = "high" }', "pulses.level: expected a number"),
        ('{ of = "ttl", column = -1 }', "pulses.column: expected a whole number >= 0"),
        ('"ttl"', "pulses: expected a table"),
    ],
)
def test_a_config_names_what_is_there(pulses, says):
    with pytest.raises(ConfigError) as error:
        parse_config(TTL + daq(pulses), "c.toml")
    assert says in str(error.value)


def test_the_frames_own_line_has_their_clock():
    with pytest.raises(ConfigError, match="it has the frames' own clock already"):
        parse_config(TTL + 'pulses = { of = "frames" }\n', "c.toml")
