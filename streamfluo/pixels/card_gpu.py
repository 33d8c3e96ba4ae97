"""A CUDA device as a card, by cupy."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

import cupy
import numpy as np

from ..core.card import CardError, CardFull, CardKernel, CardLost, definitions, kernel_names, typed

# Products are not fused into additions: the processor's kernels round both.
OPTIONS = ("--std=c++17", "--fmad=false")
MOST_BLOCKS = 1 << 16
OUT_OF_MEMORY = 2  # of the runtime and of the driver
WORDS = """
#ifndef INFINITY  // of <math.h>, which CUDA's compiler at run time has not
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif
#define KERNEL extern "C" __global__ void
#define SHARED __shared__
#define DEVICE static __device__ inline
#define ITEMS(i, n) \\
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < (n); i += (long long)gridDim.x * THREADS)
#define BLOCKS(b, n) for (int b = blockIdx.x; b < (n); b += gridDim.x)
#define EACH(t) for (int t = threadIdx.x, once_ = 1; once_; once_ = 0, __syncthreads())
static __device__ inline int ticket_(int* next)
{
    __shared__ int mine;
    __syncthreads();
    if (threadIdx.x == 0) mine = atomicAdd(next, 1);
    __syncthreads();
    return mine;
}
#define GROUP (blockIdx.x)
#define TICKETS(b, n, next) for (int b = ticket_(next); b < (n); b = ticket_(next))
#define AWAIT(done) do { while (!(done)) {} __threadfence(); } while (0)
#define TELL(place, value) do { __threadfence(); *(volatile int*)(place) = (value); } while (0)
"""


class CudaCard:
    """The current CUDA device. Raises CardLost where none answers."""

    xp: Any = cupy

    def __init__(self) -> None:
        try:
            properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise CardLost(f"no CUDA device answers ({error}); see `nvidia-smi`") from None
        self.name = properties["name"].decode()
        self._copying = cupy.cuda.Stream(non_blocking=True)
        self._lock = threading.Lock()
        self._free: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}  # uploads' memory, and when it was last read

    def compiled(self, source: str, **given: str | int) -> Mapping[str, CardKernel]:
        threads = int(given.get("THREADS", 256))
        try:
            module = cupy.RawModule(code=definitions(given) + WORDS + source, options=OPTIONS)
            return {name: _Kernel(module.get_function(name), threads) for name in kernel_names(source)}
        except Exception as error:  # of a driver that is too old, CardLost; of a source that is wrong, as it is
            raise self.fault(error) or error from None

    def put(self, pixels: np.ndarray) -> Any:
        key = (pixels.shape, pixels.dtype.str)
        free = self._free.setdefault(key, [])
        try:
            with self._lock:
                memory, read = free.pop() if free else self._new(pixels)
            self._copying.wait_event(read)
            memory.set(pixels, stream=self._copying)
            self._copying.record().synchronize()  # whose memory the frames are may change it from now on
        except Exception as error:
            raise self.fault(error) or error from None
        lease = _Lease()  # lives as long as the array, and views of it
        weakref.finalize(lease, _let_go, free, memory, read).atexit = False
        there = cupy.cuda.UnownedMemory(memory.data.ptr, memory.nbytes, lease)
        return cupy.ndarray(pixels.shape, pixels.dtype, cupy.cuda.MemoryPointer(there, 0))

    def _new(self, pixels: np.ndarray) -> tuple[Any, Any]:
        """Memory for an upload, and the event behind which nothing uses it any more: cupy hands on memory that kernels
        which wait may still read. Where the card is full, that of other uploads is given back first."""
        try:
            memory = cupy.empty(pixels.shape, pixels.dtype)
        except cupy.cuda.memory.OutOfMemoryError:
            for free in self._free.values():
                free.clear()
            cupy.get_default_memory_pool().free_all_blocks()
            memory = cupy.empty(pixels.shape, pixels.dtype)
        read = cupy.cuda.Event()
        read.record()
        return memory, read

    def get(self, array: Any) -> np.ndarray:
        try:
            return np.asarray(cupy.asnumpy(array))
        except Exception as error:
            raise self.fault(error) or error from None

    def pin(self, memory: np.ndarray) -> None:
        pointer = memory.ctypes.data
        try:
            cupy.cuda.runtime.hostRegister(pointer, memory.nbytes, 0)
        except cupy.cuda.runtime.CUDARuntimeError:  # more than may be locked: it is copied in two steps then
            return
        root = memory  # what all views of it hold
        while isinstance(root.base, np.ndarray):
            root = root.base
        weakref.finalize(root, cupy.cuda.runtime.hostUnregister, pointer).atexit = False

    def fault(self, error: BaseException) -> CardError | None:
        if isinstance(error, cupy.cuda.memory.OutOfMemoryError) or getattr(error, "status", None) == OUT_OF_MEMORY:
            return CardFull(f"{self.name}: {error}")
        lost = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        return CardLost(f"{self.name}: {error}") if isinstance(error, lost) else None


class _Lease:
    """Upload's memory that is in use."""


class _Kernel:
    def __init__(self, function: Any, threads: int) -> None:
        self._function, self._threads = function, threads

    def items(self, n: int, *arguments: Any) -> None:
        self.blocks(-(-n // self._threads), *arguments)

    def blocks(self, n: int, *arguments: Any) -> None:
        if n:
            self._function((min(n, MOST_BLOCKS),), (self._threads,), tuple(map(_argument, arguments)))


def _argument(given: Any) -> Any:
    if isinstance(given, cupy.ndarray):
        if not given.flags.c_contiguous:
            raise TypeError("kernels take arrays in C-order")
        return given
    if isinstance(given, np.ndarray):
        raise TypeError("kernels take arrays of the card, found one of the host")
    return typed(given)


def _let_go(free: list[tuple[Any, Any]], memory: Any, read: Any) -> None:
    """Use an upload's memory again, behind what has been asked to read it."""
    read.record()
    free.append((memory, read))
