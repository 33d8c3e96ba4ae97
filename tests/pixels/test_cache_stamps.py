"""A kernel is taken from the cache if what it calls, in whatever file, is what it was; whenever that was written."""

import importlib
import os
import sys

import pytest

from streamfluo.pixels.kernels import cache_stamps
from streamfluo.pixels.kernels.cache_stamps import forget_sources, stamp_of

HEAD = "from streamfluo.pixels.kernels.kernel import kernel\n"
CALLED = HEAD + "from .constants import FACTOR\n\n@kernel\ndef called(x):\n    return FACTOR * x\n"
CALLER = HEAD + "from .called import called\n\n@kernel\ndef caller(x):\n    return called(x) + 1\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "strangers_kernels"
    folder.mkdir()
    for name, text in {"__init__": "", "constants": "FACTOR = 2\n", "called": CALLED, "caller": CALLER}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget_sources()
    for name in [name for name in sys.modules if name.startswith("strangers_kernels")]:
        del sys.modules[name]


def asked():
    """What a new process would be told by the kernel, and whether it came from the cache."""
    forget_sources()
    for name in [name for name in sys.modules if name.startswith("strangers_kernels")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    kernel = importlib.import_module("strangers_kernels.caller").caller
    return kernel(3), bool(kernel.stats.cache_hits)


def test_one_is_compiled_again_where_what_it_calls_has_changed_in_another_file(package):
    assert asked() == (7, False)
    assert asked() == (7, True)
    (package / "called.py").write_text(CALLED.replace("FACTOR * x", "FACTOR * x + 10"))
    assert asked() == (17, False)
    (package / "constants.py").write_text("FACTOR = 5\n")
    assert asked() == (26, False)
    assert asked() == (26, True)


def test_files_that_were_only_written_anew_are_the_same(package):
    assert asked() == (7, False)
    for file in package.glob("*.py"):
        os.utime(file, (1, 1))
    assert asked() == (7, True)


def test_of_the_package_itself_all_kernels_that_one_calls_count():
    files = {path.name for path in cache_stamps._imported(cache_stamps.PACKAGE / "spots" / "kernels" / "frames.py")}
    assert {"crops.py", "fits.py", "kernel.py", "psf.py"} <= files
    with pytest.raises(OSError, match="nowhere"):
        stamp_of("/nowhere/kernels.py")
