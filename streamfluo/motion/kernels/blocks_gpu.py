"""What kernels of motion on a card share: sums and ranks over a block of threads, the light of a frame, and where its
pixels lie on the template. See block_levels.py and frame_rows.py.

A thread has a column of a row of blocks, as loops of the processor have; sums over all blocks are those of one block of
threads, in pairs.
"""

from .frame_rows import BLOCK_PX

SIDE = f"""
#define SIDE {BLOCK_PX}
#define HALF {(BLOCK_PX - 1) / 2}f
"""

# Sums of what each thread of a block has, and the value of a rank among values without NaN: bit by bit, by how many
# lie below. What is read behind a barrier is written again behind another one only.
TOGETHER = """
template <class Number> DEVICE void add_up(Number* part, int count)
{
    for (int half = THREADS / 2; half; half /= 2) {
        EACH(t) {
            if (t < half)
                for (int k = 0; k < count; ++k) part[k * THREADS + t] += part[k * THREADS + t + half];
        }
    }
}

DEVICE unsigned int key_of(float value)
{
    union { float number; unsigned int bits; } both;
    both.number = value;
    return both.bits & 0x80000000u ? ~both.bits : both.bits | 0x80000000u;
}

template <class Values> DEVICE int known_of(const Values& value, long long n, int* part)
{
    EACH(t) {
        part[t] = 0;
        for (long long k = t; k < n; k += THREADS) {
            const float v = value(k);
            part[t] += v == v;
        }
    }
    add_up(part, 1);
    const int found = part[0];
    EACH(t) {}
    return found;
}

template <class Values> DEVICE float of_rank(const Values& value, long long n, int rank, int* part)
{
    unsigned int found = 0;
    for (int bit = 31; bit >= 0; --bit) {
        const unsigned int tried = found | 1u << bit;
        EACH(t) {
            part[t] = 0;
            for (long long k = t; k < n; k += THREADS) {
                const float v = value(k);
                part[t] += v == v && key_of(v) < tried;
            }
        }
        add_up(part, 1);
        const int below = part[0];
        EACH(t) {}
        if (below <= rank) found = tried;
    }
    union { unsigned int bits; float number; } both;
    both.bits = found & 0x80000000u ? found & 0x7fffffffu : ~found;
    return both.number;
}
"""

# levels (by, bx) of the blocks, and slopes (2,) of the frame's light: see block_levels.py, frame_rows.py.
LIGHT = """
DEVICE float rise(float slope, long long at) { return slope * ((float)(at % SIDE) - HALF); }

DEVICE float level_at(const float* levels, const float* slopes, float common, long long by, long long bx, long long n)
{
    const float here = levels[by * n + bx];
    if (here == here) return here;
    return common + (float)SIDE * (slopes[0] * (float)by + slopes[1] * (float)bx);
}
"""

# Of frames: a pixel as it lies on the template, NaN where it was not seen.
PLACES = """
#define PLACES \\
    long long height, long long width, long long seen_top, long long seen_bottom, long long seen_left, \\
    long long seen_right, long long top, long long bottom, long long left, long long right, const int* shifts
#define IN_BLOCKS \\
    const long long blocks_x = (width + SIDE - 1) / SIDE, blocks_y = (height + SIDE - 1) / SIDE; \\
    const long long across = (width + THREADS - 1) / THREADS
#define SHIFT_OF(bx) \
    const int* shift = shifts + 2 * (by * blocks_x + least(bx, blocks_x - 1)); \
    const long long dy = shift[0], dx = shift[1]
#define TAKEN(y, x) ((x) >= left && (x) < right && (y) + dy >= seen_top && (y) + dy < seen_bottom \\
    && (x) + dx >= seen_left && (x) + dx < seen_right ? (float)frame[((y) + dy) * width + (x) + dx] : NAN)

DEVICE long long most(long long a, long long b) { return a > b ? a : b; }
DEVICE long long least(long long a, long long b) { return a < b ? a : b; }
"""
