"""`power_sums.add_powers` on a CUDA device, where the sums stay while frames arrive."""

import cupy

THREADS = 256
CTYPES = {
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "int16": "short", "int32": "int",
    "float32": "float", "float64": "double",
}  # fmt: skip

# One thread a pixel. The last step adds without error (TwoSum), so products must not be fused into additions.
SOURCE = """
extern "C" __global__ void add_powers(
    const PIXEL* frames, const int n, const long long pixels, const double* pivot, double* sums, const int powers)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    const long long tile = i / 1024, lane = i % 1024;
    double total[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int f = 0; f < n; ++f) {
        const double d = (double)frames[f * pixels + i] - pivot[i];
        double power = 1;
        for (int j = 0; j < powers; ++j) {
            power *= d;
            total[j] += power;
        }
    }
    for (int j = 0; j < powers; ++j) {
        double* high = sums + ((tile * powers + j) * 2) * 1024 + lane;
        double* low = high + 1024;
        const double s = *high + total[j];
        const double b = s - *high;
        *low += (*high - (s - b)) + (total[j] - b);
        *high = s;
    }
}
"""


class PowersOnDevice:
    """Sums (tiles, powers, 2, 1024) about a pivot (tiles, 1024) on the device, for frames of one type.

    Raises cupy.cuda.runtime.CUDARuntimeError without a device.
    """

    def __init__(self, shape, dtype):  # type: ignore[no-untyped-def]
        self._sums, self._pivot = cupy.zeros(shape), cupy.zeros((shape[0], shape[3]))
        source = SOURCE.replace("PIXEL", CTYPES[dtype])
        self._kernel = cupy.RawKernel(source, "add_powers", options=("--fmad=false",))
        self._kernel.compile()

    def add(self, frames):  # type: ignore[no-untyped-def]
        """Add a cell's frames (n, p) of the host."""
        n, pixels = frames.shape
        if n:
            grid = (-(-pixels // THREADS),)
            there = (cupy.asarray(frames), cupy.int32(n), cupy.int64(pixels), self._pivot, self._sums)
            self._kernel(grid, (THREADS,), (*there, cupy.int32(self._sums.shape[1])))

    def put(self, pivot, sums):  # type: ignore[no-untyped-def]
        """Copy pivot and sums from the host."""
        self._pivot.set(pivot)
        self._sums.set(sums)

    def get(self, out):  # type: ignore[no-untyped-def]
        """Copy the sums to an array of the host."""
        self._sums.get(out=out)
