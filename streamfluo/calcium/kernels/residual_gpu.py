"""Residuals of bins of frames on a card: one block of threads a tile of 16 × 16 pixels."""

# The operations of `sum_frames`, `subtract_footprints` and `store_bin`, in their order: the same bits. Of a footprint's
# box the zeros count too, which change nothing. Those near a tile are listed by a running sum of flags, in their order.
RESIDUAL = """
KERNEL residual_of_bin(
    const short* frames, long long height, long long width, long long first, long long window, float steps,
    const float* modes, long long count, float mode_0, float mode_1, float mode_2, float mode_3, const float* box,
    const int* origin, const double* activity, long long cells, long long box_height, long long box_width, float factor,
    float* total, short* stored)
{
    BLOCKS(b, ((height + 15) / 16) * ((width + 15) / 16)) {
        SHARED float rest[THREADS];
        SHARED int place[2][THREADS];
        SHARED int listed[THREADS];
        const long long across = (width + 15) / 16, top = b / across * 16, left = b % across * 16;
        const long long size = box_height * box_width;
        EACH(t) {
            const long long y = top + t / 16, x = left + t % 16, i = y * width + x;
            if (y < height && x < width) {
                const float amount[4] = {mode_0, mode_1, mode_2, mode_3};
                int counted = 0;
                for (int f = 0; f < BIN; ++f) counted += frames[(first + f) % window * height * width + i];
                float sum = steps * (float)counted;
                for (long long m = 0; m < count; ++m) sum += modes[m * height * width + i] * amount[m];
                rest[t] = sum;
            }
        }
        for (long long start = 0; start < cells; start += THREADS) {
            EACH(t) {
                int near = 0;
                if (start + t < cells) {
                    const long long v = origin[2 * (start + t)], u = origin[2 * (start + t) + 1];
                    near = v < top + 16 && v + box_height > top && u < left + 16 && u + box_width > left;
                }
                place[0][t] = near;
            }
            int now = 0;
            for (int apart = 1; apart < THREADS; apart *= 2) {
                EACH(t) { place[1 - now][t] = place[now][t] + (t >= apart ? place[now][t - apart] : 0); }
                now = 1 - now;
            }
            EACH(t) {
                if (place[now][t] > (t ? place[now][t - 1] : 0)) listed[place[now][t] - 1] = (int)start + t;
            }
            EACH(t) {
                const long long y = top + t / 16, x = left + t % 16;
                for (int n = 0; n < place[now][THREADS - 1]; ++n) {
                    const long long k = listed[n], v = y - origin[2 * k], u = x - origin[2 * k + 1];
                    if (v < 0 || v >= box_height || u < 0 || u >= box_width) continue;
                    const float value = box[k * size + v * box_width + u];
                    if (value != 0) rest[t] -= (float)activity[k] * value;
                }
            }
        }
        EACH(t) {
            const long long y = top + t / 16, x = left + t % 16, i = y * width + x;
            if (y < height && x < width) {
                const float scaled = rest[t] * factor;
                float z = scaled * STEP;
                z = z < 32767.0f ? z : 32767.0f;
                z = z > -32767.0f ? z : -32767.0f;
                total[i] = scaled;
                stored[i] = (short)rintf(z);
            }
        }
    }
}

KERNEL shrink_and_gather(
    const float* total, long long height, long long width, long long rows, long long columns, const int* origin,
    long long cells, long long box_height, long long box_width, float* found)
{
    ITEMS(i, rows * columns + cells * box_height * box_width) {
        if (i < rows * columns) {
            const long long y = i / columns, x = i % columns;
            const float* a = total + 2 * y * width;
            const float* b = total + (2 * y + 1 < height ? 2 * y + 1 : height - 1) * width;
            found[i] = width == 1 ? a[0] + b[0] : 0.5f * (a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1]);
        } else {
            const long long at = i - rows * columns, size = box_height * box_width, k = at / size, p = at % size;
            found[i] = total[(origin[2 * k] + p / box_width) * width + origin[2 * k + 1] + p % box_width];
        }
    }
}

KERNEL gather_bins(
    const short* bins, long long height, long long width, long long first, long long n, long long most, long long top,
    long long left, long long box_height, long long box_width, short* found)
{
    ITEMS(i, n * box_height * box_width) {
        const long long size = box_height * box_width, slot = (first + i / size) % most, p = i % size;
        found[i] = bins[(slot * height + top + p / box_width) * width + left + p % box_width];
    }
}

KERNEL subtract_from_bins(
    short* bins, long long height, long long width, long long first, long long n, long long most, long long k,
    const float* box, const int* origin, const double* activity, long long box_height, long long box_width)
{
    ITEMS(i, n * box_height * box_width) {
        const long long size = box_height * box_width, slot = (first + i / size) % most, p = i % size;
        const float value = box[k * size + p];
        const long long y = origin[2 * k] + p / box_width, x = origin[2 * k + 1] + p % box_width;
        short* place = bins + (slot * height + y) * width + x;
        const double rest = *place - rint((double)STEP * activity[i / size] * value);
        if (value != 0) *place = (short)fmax(-32767.0, fmin(32767.0, rest));
    }
}

KERNEL take_changes(
    const int* changes, const float* values, long long n, long long box_height, long long box_width, long long width,
    float* box, int* origin, float* mean)
{
    ITEMS(i, n * box_height * box_width) {
        const long long size = box_height * box_width, p = i % size, head = i / size * (size + 4);
        const long long k = changes[head + 1], top = changes[head + 2], left = changes[head + 3];
        const float value = values[head + 4 + p];
        if (changes[head] == FOOTPRINT) {
            box[k * size + p] = value;
            if (p == 0) {
                origin[2 * k] = (int)top;
                origin[2 * k + 1] = (int)left;
            }
        } else if (changes[head] == MEAN) {
            mean[(top + p / box_width) * width + left + p % box_width] = value;
        }
    }
}
"""
