"""A card that is none: kernels of cards compiled for the processor, so that twins are tested where there is no GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.card import CardError, CardKernel, definitions, kernel_names, typed
from ..core.errors import ConfigError

WORDS = """
#include <cmath>
#include <cstdint>
#include <cstdlib>
using namespace std;
#define KERNEL extern "C" void
#define SHARED static thread_local
#define DEVICE static inline
#define ITEMS(i, n) for (long long i = 0; i < (n); ++i)
#define BLOCKS(b, n) for (int b = 0; b < (n); ++b)
#define EACH(t) for (int t = 0; t < THREADS; ++t)
#define GROUP 0
#define TICKETS(b, n, next) for (int b = 0; b < (n); ++b)
#define AWAIT(done) do { if (!(done)) abort(); } while (0)
#define TELL(place, value) (*(place) = (value))
"""
# As a card's: no products fused into additions, no reordering.
OPTIONS = ("-std=c++17", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-shared", "-fPIC", "-w")
C_ARGUMENTS = {
    "int8": ctypes.c_int8, "uint8": ctypes.c_uint8, "int16": ctypes.c_int16, "uint16": ctypes.c_uint16,
    "int32": ctypes.c_int32, "uint32": ctypes.c_uint32, "int64": ctypes.c_int64, "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}  # fmt: skip


class HostCard:
    """Numpy as a card's arrays, and the C++ compiler ($CXX, or c++) for its kernels. `bytes_put`, `bytes_got` count
    what went to it and back.

    Raises ConfigError without a compiler.
    """

    xp: Any = np

    def __init__(self) -> None:
        self.name = "host"
        self.bytes_put = self.bytes_got = 0
        self._compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or ""
        if not self._compiler:
            raise ConfigError("STREAMFLUO_CARD = host: it needs a C++ compiler, c++ or what $CXX names")

    def compiled(self, source: str, **given: str | int) -> Mapping[str, CardKernel]:
        library = ctypes.CDLL(str(self._library(definitions(given) + WORDS + source)))
        return {name: HostKernel(self, name, getattr(library, name)) for name in kernel_names(source)}

    def put(self, pixels: np.ndarray) -> Any:
        self.check()
        self.bytes_put += pixels.nbytes
        return pixels.copy()

    def get(self, array: Any) -> np.ndarray:
        self.check()
        self.bytes_got += array.nbytes
        return np.array(array)

    def pin(self, memory: np.ndarray) -> None:
        pass

    def fault(self, error: BaseException) -> CardError | None:
        return error if isinstance(error, CardError) else None

    def check(self) -> None:
        """Called before each thing it does; raises what a card would, in tests of that."""

    def takes(self, array: np.ndarray) -> bool:
        """Whether a kernel may be given an array."""
        return True

    def _library(self, code: str) -> Path:
        folder = Path(tempfile.gettempdir()) / f"streamfluo-host-card-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{hashlib.sha256(f'{self._compiler} {OPTIONS} {code}'.encode()).hexdigest()}.so"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=folder) as own:
                source, made = Path(own, "kernels.cpp"), Path(own, "kernels.so")
                source.write_text(code)
                done = subprocess.run(
                    [self._compiler, *OPTIONS, "-o", made, source], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise RuntimeError(f"kernels do not compile:\n{done.stderr[:4000]}")
                made.replace(path)  # whole, or not there
        return path


class HostKernel:
    """A kernel compiled for the processor."""

    def __init__(self, card: HostCard, name: str, function: Any) -> None:
        self._card, self._name, self._function = card, name, function
        function.restype = None

    def items(self, n: int, *arguments: Any) -> None:
        self.blocks(n, *arguments)

    def blocks(self, n: int, *arguments: Any) -> None:
        self._card.check()
        if n:
            self._function(*(self._argument(given) for given in arguments))

    def _argument(self, given: Any) -> Any:
        if isinstance(given, np.ndarray):
            if not self._card.takes(given):
                raise TypeError(f"{self._name}: kernels take arrays of the card, found one of the host")
            if not given.flags.c_contiguous:
                raise TypeError(f"{self._name}: kernels take arrays in C-order")
            return ctypes.c_void_p(given.ctypes.data)
        number = typed(given)
        return C_ARGUMENTS[number.dtype.name](number)
