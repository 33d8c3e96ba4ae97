"""Means of frames over regions on a card: one block of threads a frame and region."""

# Of each listed pixel 4 bytes of its place and those of its value, one addition; sums of integers are exact.
REGION_MEANS = """
KERNEL region_means(
    const PIXEL* frames, long long n, long long pixels, long long regions, const long long* starts, const int* places,
    double* means)
{
    BLOCKS(b, n * regions) {
        SHARED TOTAL part[THREADS];
        SHARED int seen[THREADS];
        const PIXEL* frame = frames + b / regions * pixels;
        const long long first = starts[b % regions], stop = starts[b % regions + 1];
        EACH(t) {
            TOTAL sum = 0;
            int many = 0;
            for (long long i = first + t; i < stop; i += THREADS) {
                const PIXEL x = frame[places[i]];
                if (x == x) {
                    sum += x;
                    many += 1;
                }
            }
            part[t] = sum;
            seen[t] = many;
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) {
                if (t < half) {
                    part[t] += part[t + half];
                    seen[t] += seen[t + half];
                }
            }
        }
        EACH(t) { if (t == 0) means[b] = seen[0] ? (double)part[0] / seen[0] : nan(""); }
    }
}
"""
