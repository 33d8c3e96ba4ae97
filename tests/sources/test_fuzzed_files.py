"""Whatever the bytes of a file are: frames or one of our errors, soon, and in little memory.

Small valid files with bytes changed, cut out and put in; some dozens each in the fast tests, thousands in the slow.
"""

import signal
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_recordings import FILES, original, read

from streamfluo import SourceError, open_source

pytest.importorskip("h5py", reason="needs the extra [formats]")

MAX_S = 20  # to open and read a file of some kB, on a machine that is busy
MAX_BYTES = 300 << 20


NUMBERS = [0, 1, 2, 7, 255, 256, 65535, 65536, 1 << 20, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


@st.composite
def places(draw):
    """A place in the file as a fraction; headers and directories lie at both ends."""
    return draw(st.floats(0, 1)) ** draw(st.sampled_from([1, 3])) * draw(st.sampled_from([1, 0.1]))


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), places(), st.binary(min_size=1, max_size=8)),
        st.tuples(
            st.just("put"),
            places(),
            st.builds(
                lambda number, nbytes, order: (number % 256**nbytes).to_bytes(nbytes, order),
                st.sampled_from(NUMBERS), st.sampled_from([1, 2, 4, 8]), st.sampled_from(["little", "big"]),
            ),
        ),
        st.tuples(st.just("insert"), places(), st.binary(min_size=1, max_size=64)),
        st.tuples(st.just("cut out"), places(), st.integers(1, 200)),
        st.tuples(st.just("cut off"), places(), st.none()),
        st.tuples(st.just("copy"), places(), places()),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


def changed(data, changes):
    data = bytearray(data)
    for what, place, value in changes:
        at = int(place * len(data))
        if what == "put":
            data[at : at + len(value)] = value
        elif what == "insert":
            data[at:at] = value
        elif what == "cut out":
            del data[at : at + value]
        elif what == "cut off":
            del data[at:]
        else:
            source = int(value * len(data))
            data[at : at + 32] = data[source : source + 32]
    return bytes(data)


@contextmanager
def soon():
    """Interrupt what takes too long, where a main thread can be."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(*_):
        raise BaseException(f"not done in {MAX_S} s")  # which no reader takes for damage

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, MAX_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def resident_bytes():
    """The most memory this process ever had, 0 where the system does not say; what C libraries take is in it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def outcome(name, folder, changes):
    """Bytes that reading a changed file took at most, and what was said of it; None where it was read."""
    _, opened, file = FILES[name]
    data = original(name, folder)
    (folder / file).write_bytes(changed(data, changes))
    before = resident_bytes()
    tracemalloc.start()
    try:
        with soon():
            said = read(folder / opened)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return max(peak, resident_bytes() - before), said


SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each kind of file, for all of its examples."""
    return {name: tmp_path_factory.mktemp("fuzzed") for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_changed_is_read(name, tmp_path):
    original(name, tmp_path)
    assert read(tmp_path / FILES[name][1]) is None


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=20, derandomize=True, **SETTINGS)
@given(changes=CHANGES)
def test_changed_bytes_give_frames_or_one_line(name, folders, changes):
    took_bytes, said = outcome(name, folders[name], changes)
    assert took_bytes < MAX_BYTES
    assert said is None or "\n" not in said


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FILES)
@settings(max_examples=2000, **SETTINGS)
@given(changes=CHANGES)
def test_changed_bytes_give_frames_or_one_line_thousands_of_times(name, folders, changes):
    took_bytes, said = outcome(name, folders[name], changes)
    assert took_bytes < MAX_BYTES
    assert said is None or "\n" not in said


def test_a_scanimage_header_longer_than_its_file_is_not_read(tmp_path):
    took_bytes, said = outcome("ScanImage", tmp_path, [("put", 0.004108011722564697, b"\x00\x13")])  # 319 MB, it says
    assert took_bytes < MAX_BYTES
    assert "\n" not in said
    with pytest.raises(SourceError, match="its ScanImage header says that it has"):
        open_source(tmp_path / FILES["ScanImage"][1])
