"""Photon transfer on a card: sums of each pixel, one thread each, a cell's frames in turn."""

# The additions of `accumulate_steps`, in its order. Of a cell of 32 frames of 2 bytes: 64 bytes a pixel and 62 of the
# sums: 4 bytes a pixel and frame; 8 additions and products, of integers.
STEPS = """
DEVICE PIXEL greater(PIXEL a, PIXEL b) { return b > a ? b : a; }

DEVICE PIXEL lesser(PIXEL a, PIXEL b) { return b < a ? b : a; }

KERNEL accumulate_steps(
    const PIXEL* frames, long long n, long long pixels, const unsigned char* linked, const PIVOT* pivot, PIXEL* last,
    SUM* total, SUM* squares, SUM* steps, PIXEL* high, PIXEL* low)
{
    ITEMS(i, pixels) {
        const SUM p = pivot[i];
        SUM sum = 0, sum_squares = 0, sum_steps = 0;
        PIXEL h = high[i], least = low[i], before = last[i];
        long long f = 0;
        while (f < n) {
            const PIXEL x0 = frames[f * pixels + i];
            const SUM d0 = (SUM)x0 - p;
            if (f + 4 <= n && linked[f] && linked[f + 1] && linked[f + 2] && linked[f + 3]) {
                const PIXEL x1 = frames[(f + 1) * pixels + i], x2 = frames[(f + 2) * pixels + i];
                const PIXEL x3 = frames[(f + 3) * pixels + i];
                const SUM d1 = (SUM)x1 - p, d2 = (SUM)x2 - p, d3 = (SUM)x3 - p;
                const SUM e0 = d0 - ((SUM)before - p), e1 = d1 - d0, e2 = d2 - d1, e3 = d3 - d2;
                sum += (d0 + d1) + (d2 + d3);
                sum_squares += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
                sum_steps += (e0 * e0 + e1 * e1) + (e2 * e2 + e3 * e3);
                h = greater(h, greater(greater(x0, x1), greater(x2, x3)));
                least = lesser(least, lesser(lesser(x0, x1), lesser(x2, x3)));
                before = x3;
                f += 4;
                continue;
            }
            const SUM e0 = (d0 - ((SUM)before - p)) * (SUM)linked[f];
            sum += d0;
            sum_squares += d0 * d0;
            sum_steps += e0 * e0;
            h = greater(h, x0);
            least = lesser(least, x0);
            before = x0;
            f += 1;
        }
        total[i] += sum;
        squares[i] += sum_squares;
        steps[i] += sum_steps;
        high[i] = h;
        low[i] = least;
        last[i] = before;
    }
}

KERNEL probe_totals(const PIXEL* last, const PIXEL* frames, long long n, long long pixels, double* totals)
{
    BLOCKS(b, n + 1) {
        SHARED double part[THREADS];
        const PIXEL* frame = b ? frames + (b - 1) * pixels : last;
        EACH(t) {
            double sum = 0;
            for (long long k = t; k < (pixels + EVERY - 1) / EVERY * PROBED; k += THREADS) {
                const long long i = k / PROBED * EVERY + k % PROBED;
                const double x = i < pixels ? (double)frame[i] : 0;
                sum += x - x == 0 ? x : 0;
            }
            part[t] = sum;
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) { if (t == 0) totals[b] = part[0]; }
    }
}
"""
