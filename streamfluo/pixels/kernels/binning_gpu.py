"""Sums over squares of pixels on a card: one thread a bin.

A frame of 2 bytes a pixel is read once, bin_px² values a thread, those of neighbours in the same lines of the cache; 4
bytes a bin are written: 3 bytes a pixel of 2 × 2, one addition each.
"""

# The additions of `add_binned`, in its order.
BINNING = """
DEVICE TOTAL binned(
    const PIXEL* frame, long long width, long long columns, long long side, long long bin, TOTAL total)
{
    const PIXEL* corner = frame + bin / columns * side * width + bin % columns * side;
    for (long long dy = 0; dy < side; ++dy)
        for (long long dx = 0; dx < side; ++dx) total += corner[dy * width + dx];
    return total;
}

DEVICE OUT mean_or_sum(TOTAL total, double divisor)
{
    return divisor > 0 ? (OUT)((double)total / divisor) : (OUT)total;
}

KERNEL add_binned(
    const PIXEL* frames, long long n, long long pixels, long long width, long long bins, long long columns,
    long long side, TOTAL* totals)
{
    ITEMS(i, bins) {
        TOTAL total = totals[i];
        for (long long f = 0; f < n; ++f) total = binned(frames + f * pixels, width, columns, side, i, total);
        totals[i] = total;
    }
}

KERNEL whole_bins(
    const PIXEL* frames, long long many, long long n, long long pixels, long long width, long long bins,
    long long columns, long long side, double divisor, OUT* out)
{
    ITEMS(i, many * bins) {
        const PIXEL* first = frames + i / bins * n * pixels;
        TOTAL total = 0;
        for (long long f = 0; f < n; ++f) total = binned(first + f * pixels, width, columns, side, i % bins, total);
        out[i] = mean_or_sum(total, divisor);
    }
}

KERNEL finish_bins(const TOTAL* totals, long long bins, double divisor, OUT* out)
{
    ITEMS(i, bins) { out[i] = mean_or_sum(totals[i], divisor); }
}
"""
