"""Baseline of each pixel by double exponential smoothing, on a card: one thread a pixel, the frames in turn."""

# Of a frame of 2 bytes: 2 read, 4 written, and 32 of the baseline a block: 7 a pixel and frame in blocks of 32; 8
# additions and products in float64.
BASELINE = """
KERNEL subtract_baseline(
    const PIXEL* frames, long long n, long long pixels, const double* rates, double level, double* baseline, float* out)
{
    ITEMS(i, pixels) {
        double b = baseline[i], c = baseline[pixels + i];
        for (long long f = 0; f < n; ++f) {
            const double x = (double)frames[f * pixels + i], rate = rates[f];
            if (rate > 0 && b != b) b = c = x;
            const double d = x - b;
            b += d == d ? d * rate : 0.0;
            c += (b - c) * rate;
            out[f * pixels + i] = (float)(x - (2 * b - c) + level);
        }
        baseline[i] = b;
        baseline[pixels + i] = c;
    }
}
"""
