"""Qt without a screen, one thread of BLAS, before anything imports them; kernels compiled first; nobody's keys."""

import contextlib
import faulthandler
import gc
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a second thread waits spinning: the laws of count took four times
os.environ["STREAMFLUO_KEYS"] = str(Path(tempfile.gettempdir()) / "no" / "streamfluo" / "keys")
# others may use the machine as well
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config):
    global _stderr
    _stderr = os.dup(2)  # what a test writes there later is kept from the screen


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """What is imported and collected lives to the end: looking for garbage in it took a sixth of the time, and .4 s
    each time that a test asked for it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()  # once
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """End the process where a test hangs with Python's lock held, which no timeout within Python can end: all others
    waited for it an hour and a half."""
    marker = item.get_closest_marker("timeout")
    limit_s = float(marker.args[0] if marker else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit_s + 60, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(items):
    """Mix files that wait among those that compute: folder by folder, both cores were half idle for two minutes."""
    items.sort(key=lambda item: zlib.crc32(item.path.name.encode()))


def pytest_xdist_auto_num_workers(config):
    """Twice as many workers as cores: with half as many again, both cores were idle for 30 % of the time."""
    return 2 * (os.cpu_count() or 1)


def pytest_sessionstart(session):
    """Compile the kernels of every operator on all cores first, and each module once, where all tests are run."""
    config = session.config
    some = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.collectonly
    if some or hasattr(config, "workerinput"):
        return
    from test_laws import CASES

    from streamfluo import Spec
    from streamfluo.engine.compile_tasks import Job
    from streamfluo.engine.compiling import compile_kernels

    fast = [case.values for case in CASES if not case.marks]
    both = [(kind, params, each) for kind, params, dtype in fast for each in {dtype, "float32"}]  # laws make floats
    with _listed_once(config.rootpath):
        compile_kernels([Job(kind, Spec((13, 17), dtype, interval_s=0.02), params) for kind, params, dtype in both])


@contextlib.contextmanager
def _listed_once(root):
    """In a new checkout another process lists the tests meanwhile, and so compiles what they import: 17 CPU s, 7 from
    then on, and otherwise 17 in each of three workers."""
    if sys.dont_write_bytecode or list(root.glob("tests/*/__pycache__/test_*.pyc")):
        yield
        return
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield
