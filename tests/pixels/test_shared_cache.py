"""Processes that compile the same kernel for other types at the same time find their own code in the cache.

Without the lock one run in four loses an entry. Whatever else is wrong with the cache, kernels are compiled.
"""

import importlib.util
import os
import pickle
import signal
import sys
from contextlib import contextmanager

import numba
import pytest
from numba.core.caching import CacheImpl
from processes import context

from streamfluo import Spec
from streamfluo.engine.compile_tasks import Job
from streamfluo.engine.compiling import compile_kernels
from streamfluo.pixels.kernels import cache_faults
from streamfluo.pixels.kernels.cache_misses import misses_asked

KERNEL = """
import streamfluo.pixels.kernels
from numba import njit

@njit(cache=True)
def twice(x):
    return x + x
"""
VALUES = (1, 1.5, 2 + 1j, True)


def call(folder, value, said):
    """Say twice the value by the folder's kernel, and how often that was found in the cache."""
    sys.path.insert(0, folder)
    import kernel

    said.send((kernel.twice(value), sum(kernel.twice.stats.cache_hits.values())))


def begin(folder, value):
    hears, said = context.Pipe(duplex=False)
    process = context.Process(target=call, args=(str(folder), value, said))
    process.start()
    said.close()
    return process, hears


def outcome(process, hears):
    assert hears.poll(100)
    said = hears.recv()
    process.join(100)
    return said


@pytest.mark.timeout(300)
def test_every_type_is_found_again_with_its_own_code(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    expected = [value + value for value in VALUES]
    first = [begin(tmp_path, value) for value in VALUES]
    assert [outcome(*begun) for begun in first] == [(value, 0) for value in expected]
    again = [outcome(*begin(tmp_path, value)) for value in VALUES]
    assert again == [(value, 1) for value in expected], "compiled again: its entry in the cache was lost"


OURS = KERNEL.replace("from numba import njit", "from streamfluo.pixels.kernels.kernel import kernel").replace(
    "@njit(cache=True)", "@kernel"
)


@pytest.fixture(autouse=True)
def _cached_beside_the_source(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")


def twice_from(folder):
    """A new kernel of the folder's file, as a program has it that starts now; it finds what another one kept."""
    (folder / "kernel.py").write_text(OURS)
    os.utime(folder / "kernel.py", (1, 1))  # numba compares when the file was written
    spec = importlib.util.spec_from_file_location("kernel", folder / "kernel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


def truncate(index, data):
    index.write_bytes(index.read_bytes()[:-20])


def truncate_data(index, data):
    data.write_bytes(data.read_bytes()[:100])


def change_processor(index, data):
    rewrite(index, lambda key: (key[0], (key[1][0], "pentium", ""), key[2]))


def change_numba(index, data):
    rewrite(index, lambda key: key, version="0.1")


def rewrite(index, changed, version=None):
    with index.open("rb") as file:
        now, (stamp, kept) = pickle.load(file), pickle.load(file)
    kept = {changed(key): name for key, name in kept.items()}
    index.write_bytes(pickle.dumps(version or now) + pickle.dumps((stamp, kept)))


def refuse(index, data):
    for path in (index, data):
        path.unlink()
        path.mkdir()  # nobody can write a file there, not even the administrator


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (truncate, "is damaged"),
        (truncate_data, "is damaged"),
        (change_processor, "is of another processor (pentium, this is"),
        (change_numba, "is of numba 0.1, this is"),
        (refuse, "compiled kernels cannot be kept in"),
    ],
)
def test_a_faulty_cache_is_said_in_one_line_and_the_kernel_is_compiled(tmp_path, caplog, fault, said):
    twice = twice_from(tmp_path)
    assert twice(2) == 4
    [index], [data] = (list(tmp_path.rglob(f"*.{suffix}")) for suffix in ("nbi", "nbc"))
    fault(index, data)
    cache_faults.said.clear()
    caplog.clear()
    again = twice_from(tmp_path)
    assert again(3) == 6
    assert not again.stats.cache_hits
    assert said in caplog.text
    if fault is not refuse:
        assert len(caplog.records) == 1
        healed = twice_from(tmp_path)
        assert healed(3) == 6
        assert healed.stats.cache_hits


def test_where_no_folder_can_be_written_kernels_are_compiled_and_not_kept(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    cache_faults.said.clear()
    assert twice_from(tmp_path)(2) == 4
    assert "compiled kernels cannot be kept, neither in" in caplog.text


@contextmanager
def killed(tell):
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def test_a_process_that_is_killed_while_it_compiles_leaves_the_others_to_go_on():
    heard = []
    assert compile_kernels([Job("moments", Spec((8, 8), "uint16"), {})], 1, killed, heard.append) == ["moments"]
    assert [(told.kind, told.what) for told in heard] == [("moments", "stopped")]
    assert "exit code -9" in heard[0].name


def test_a_kernel_that_others_compile_meanwhile_is_loaded(tmp_path):
    asked = []

    def there_now():
        first = not asked
        asked.append(True)
        if first:
            twice_from(tmp_path)(2)  # as another process would
        return first

    with misses_asked(there_now):
        again = twice_from(tmp_path)
        assert again(3) == 6
    assert again.stats.cache_hits
    with misses_asked(lambda: pytest.fail("nothing is missing")):
        assert twice_from(tmp_path)(4) == 8
