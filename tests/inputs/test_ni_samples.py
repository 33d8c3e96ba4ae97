"""Samples of NI-DAQ hardware, against a stand-in for nidaqmx that keeps its calls: the driver runs on few machines."""

import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from streamfluo import ConfigError
from streamfluo.core.input import Input, Sample
from streamfluo.engine.config import InputConfig
from streamfluo.engine.listening import InputThread
from streamfluo.inputs import ni
from streamfluo.inputs.opening import open_input
from streamfluo.session.device_clocks import taken_ns
from streamfluo.session.input_samples import Samples

BEGAN_NS = 5_000_000_000
CONTINUOUS = object()


class Board:
    """A board whose sample clock runs `drift` too fast; time passes when somebody sleeps or it is started."""

    def __init__(self, drift=0.0, late_ms=2.0, start_ms=0.4, seed=0):
        self.now_ns, self.drift, self.start_ms, self.calls = BEGAN_NS, drift, start_ms, []
        self.late_ms, self._rng = late_ms, np.random.default_rng(seed)
        self.taken_rate = None  # what the device makes of the rate
        self.fails = None

    def monotonic_ns(self):
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += round(seconds * 1e9) + int(self._rng.exponential(1e6))

    def ready(self, began_ns, rate):
        """How many samples the driver has by now: those of some time ago."""
        late_ns = self._rng.exponential(self.late_ms * 1e6)
        return max(0, int((self.now_ns - late_ns - began_ns) / 1e9 * rate * (1 + self.drift)) + 1)


class Channels:
    def __init__(self, board, task):
        self._board, self._task = board, task

    def add_ai_voltage_chan(self, physical_channel, min_val, max_val):
        if physical_channel.startswith("Gone"):
            raise RuntimeError("Device identifier is invalid.\nDevice Specified: Gone\nStatus Code: -200220")
        first, _, last = physical_channel.partition("/ai")[2].partition(":")
        self._task.channels = int(last or first) - int(first) + 1
        self._board.calls.append(("analog", physical_channel, min_val, max_val))

    def add_ci_count_edges_chan(self, counter):
        self._task.channels = 1
        self._board.calls.append(("counter", counter))


@pytest.fixture
def board(monkeypatch):
    board = Board()

    class Timing:
        def cfg_samp_clk_timing(self, rate, source, sample_mode, samps_per_chan):
            assert sample_mode is CONTINUOUS
            assert samps_per_chan >= 5 * rate
            self.samp_clk_rate = board.taken_rate or rate
            board.calls.append(("clock", rate, source))

    class Task:
        def __init__(self):
            self.timing, self.read_so_far = Timing(), 0
            self.ai_channels = self.ci_channels = Channels(board, self)

        def start(self):
            board.now_ns += round(board.start_ms * 5e5)
            self.began_ns = board.now_ns
            board.now_ns += round(board.start_ms * 5e5)

        def read(self, number_of_samples_per_channel, timeout):
            assert number_of_samples_per_channel == -1
            if board.fails:
                raise RuntimeError(board.fails)
            stop = board.ready(self.began_ns, self.timing.samp_clk_rate)
            rows = [[float(n + 1000 * c) for n in range(self.read_so_far, stop)] for c in range(self.channels)]
            self.read_so_far = max(stop, self.read_so_far)
            return rows[0] if self.channels == 1 else rows

        def close(self):
            board.calls.append("closed")

    module, constants = ModuleType("nidaqmx"), ModuleType("nidaqmx.constants")
    constants.READ_ALL_AVAILABLE, constants.AcquisitionType = -1, SimpleNamespace(CONTINUOUS=CONTINUOUS)
    module.Task, module.constants = Task, constants
    monkeypatch.setitem(sys.modules, "nidaqmx", module)
    monkeypatch.setitem(sys.modules, "nidaqmx.constants", constants)
    monkeypatch.setattr(ni, "time", board)
    return board


def read_for(one, board, seconds):
    until, samples = board.now_ns + seconds * 1e9, []
    while board.now_ns < until:
        samples += one.read(0.1)
    return samples


def recorded(samples):
    """The samples as a session has them."""
    t_ns, own_ns = (np.array([getattr(s, name) for s in samples], np.int64) for name in ("t_ns", "own_ns"))
    return Samples(t_ns, np.array([s.value for s in samples]), None, own_ns)


def test_every_sample_of_every_channel_comes_once_in_order(board):
    one = open_input("ni:Dev1/ai0:1?rate=500&volts=5")
    samples = read_for(one, board, 2)
    one.close()
    assert board.calls == [("analog", "Dev1/ai0:1", -5.0, 5.0), ("clock", 500.0, ""), "closed"]
    assert [s.value for s in samples] == [(float(n), float(n + 1000)) for n in range(len(samples))]
    assert [s.own_ns for s in samples] == [2_000_000 * n for n in range(len(samples))]
    assert 950 < len(samples) < 1010


def test_a_counter_is_read_by_the_clock_of_a_terminal(board):
    one = open_input("ni:Dev1/ctr0?rate=100&clock=/Dev1/ai/SampleClock")
    assert [s.value for s in read_for(one, board, 1)][:3] == [(0.0,), (1.0,), (2.0,)]
    assert board.calls == [("counter", "Dev1/ctr0"), ("clock", 100.0, "/Dev1/ai/SampleClock")]


@pytest.mark.parametrize("start_ms", [0.4, 30.0])
@pytest.mark.parametrize("drift", [50e-6, -50e-6])
def test_times_are_those_of_the_sample_clock(board, drift, start_ms):
    """With a known start to its millisecond however late samples come; else to the delay that they have alike."""
    board.drift, board.start_ms = drift, start_ms
    one = open_input("ni:Dev1/ai0?rate=100")
    samples = recorded(read_for(one, board, 60))
    taken, error_ns = taken_ns(samples)
    truth = BEGAN_NS + start_ms * 5e5 + np.arange(len(taken)) * 1e7 / (1 + drift)
    error_ms = (taken - truth) / 1e6
    if start_ms < 1:
        assert np.abs(error_ms).max() < 0.4
        assert np.abs(error_ms).max() * 1e6 < 2 * error_ns < 2e6
    else:
        assert 0 < np.median(error_ms) < 9  # a sample is up to 10 ms old already when the next read finds it
        assert np.ptp(error_ms) < 1.5
    assert np.abs(np.diff(taken) / 1e7 * (1 + drift) - 1).max() < 20e-6


def test_what_is_unplugged_is_said_and_begins_a_clock_anew(board):
    one = open_input("ni:Dev1/ai0?rate=100")
    samples = read_for(one, board, 10)
    board.fails = "The device was unplugged.\nStatus Code: -88709"
    for _ in range(2):
        with pytest.raises(OSError, match=r"^The device was unplugged\.$"):
            one.read(0.1)
    board.fails = None
    board.now_ns += 3_000_000_000
    again_ns = board.now_ns
    more = read_for(one, board, 10)
    assert more[0].own_ns == 0
    taken, error_ns = taken_ns(recorded(samples + more))
    assert np.isfinite(error_ns)
    np.testing.assert_allclose(taken[: len(samples)] - BEGAN_NS - 2e5, np.arange(len(samples)) * 1e7, atol=2e6)
    np.testing.assert_allclose(taken[len(samples) :] - again_ns - 2e5, np.arange(len(more)) * 1e7, atol=2e6)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ni:Dev1", "write ni:Dev1/ai0, ni:Dev1/ai0:3 or ni:Dev1/ctr0"),
        ("ni:Dev1/ao0", "write ni:Dev1/ai0"),
        ("ni:Dev1/ai0?rate=fast", "rate is a number from 1 to 50000, found 'fast'"),
        ("ni:Dev1/ai0?rate=0", "rate is a number from 1 to 50000, found '0'"),
        ("ni:Dev1/ai0?hz=5", "such a channel says clock, rate, volts, not 'hz'"),
        ("ni:Dev1/ctr0?volts=5", "such a channel says clock, rate, not 'volts'"),
        ("ni:Dev1/ctr0?rate=5", "a counter has no sample clock of its own; say clock=/Dev1/ai/SampleClock"),
        ("ni:Gone/ai0", "ni:Gone/ai0: Device identifier is invalid."),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(board, uri, says):
    with pytest.raises(ConfigError) as error:
        open_input(uri)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_device_that_takes_another_rate_is_refused(board):
    board.taken_rate = 800.0
    with pytest.raises(ConfigError, match="the device samples at 800 Hz, not at rate=1000"):
        open_input("ni:Dev1/ai0?rate=1000")
    assert board.calls[-1] == "closed"


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nidaqmx", None)
    with pytest.raises(ConfigError, match="needs nidaqmx and NI's driver; install it with pip install nidaqmx"):
        open_input("ni:Dev1/ai0")


class Deliveries(Input):
    """Samples, one a delivery."""

    def __init__(self, samples):
        super().__init__("")
        self._samples, self.over = iter(samples), threading.Event()

    def read(self, wait_s):
        sample = next(self._samples, None)
        if sample is None:
            self.over.set()
        return [] if sample is None else [sample]


class Written:
    """What writes samples, kept."""

    samples, refused, dropped = 0, "", 0

    def __init__(self):
        self.arrays = []

    def add(self, arrays):
        self.arrays.append(arrays)

    def flush(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize(("rate", "said"), [(0.9, [0.9]), (1.1, [1.1]), (1.0002, [])])
def test_a_clock_of_another_rate_than_it_says_is_told_once(rate, said):
    samples = [Sample(n * 10**8, (1.0,), own_ns=round(n * 1e8 * rate)) for n in range(500)]
    told, written = [], Written()
    deliveries = Deliveries(samples)
    thread = InputThread(InputConfig("daq", ""), deliveries, written, 7, told.append)
    assert deliveries.over.wait(10)
    thread.close()
    assert [event["rate"] for event in told if event["event"] == "input at another rate"] == pytest.approx(said)
    assert thread.facts().get("rate", 0) == pytest.approx(sum(said))
    assert written.arrays[-1]["own_ns"].tolist() == [samples[-1].own_ns]
    assert written.arrays[-1]["t_ns"].tolist() == [samples[-1].t_ns + 7]
