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
    long long cells, long long box_height, long long box_width, float* small, float* found)
{
    ITEMS(i, rows * columns + cells * box_height * box_width) {
        if (i < rows * columns) {
            const long long y = i / columns, x = i % columns;
            const float* a = total + 2 * y * width;
            const float* b = total + (2 * y + 1 < height ? 2 * y + 1 : height - 1) * width;
            small[i] = width == 1 ? a[0] + b[0] : 0.5f * (a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1]);
        } else {
            const long long at = i - rows * columns, size = box_height * box_width, k = at / size, p = at % size;
            found[at] = total[(origin[2 * k] + p / box_width) * width + origin[2 * k + 1] + p % box_width];
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

KERNEL list_pixels(
    const int* changes, const float* values, long long n, long long box_height, long long box_width, long long width,
    int* index, float* value, int* counts)
{
    BLOCKS(b, n) {
        SHARED int place[2][THREADS];
        const long long size = box_height * box_width, head = b * (size + 4), k = changes[head + 1];
        const long long corner = changes[head + 2] * width + changes[head + 3];
        int before = 0;
        for (long long start = 0; changes[head] == FOOTPRINT && start < size; start += THREADS) {
            EACH(t) { place[0][t] = start + t < size && values[head + 4 + start + t] != 0; }
            int now = 0;
            for (int apart = 1; apart < THREADS; apart *= 2) {
                EACH(t) { place[1 - now][t] = place[now][t] + (t >= apart ? place[now][t - apart] : 0); }
                now = 1 - now;
            }
            EACH(t) {
                const long long p = start + t, at = k * size + before + place[now][t] - 1;
                if (place[now][t] > (t ? place[now][t - 1] : 0)) {
                    index[at] = (int)(corner + p / box_width * width + p % box_width);
                    value[at] = values[head + 4 + p];
                }
            }
            EACH(t) {
                if (t == 0) counts[k] = before + place[now][THREADS - 1];
            }
            before += place[now][THREADS - 1];
            EACH(t) {}
        }
    }
}
"""

# The operations of `smooth`, `standardise_map`, `pool_maps` and `peaks` for both widths at once, in their order: the
# same bits. Where a pixel is not seen a map is 0.
DETECTION = """
DEVICE float sides(const float* at, long long place, long long length, long long step, int k)
{
    return (place >= k ? at[-k * step] : 0) + (place + k < length ? at[k * step] : 0);
}

DEVICE float weigh(const float* at, long long place, long long length, long long step, const float* w, int reach)
{
    float sum = 0;
    for (int k = 1; k <= reach; k += 4) {
        const float a = w[k] * sides(at, place, length, step, k), b = w[k + 1] * sides(at, place, length, step, k + 1);
        const float c = w[k + 2] * sides(at, place, length, step, k + 2);
        const float d = w[k + 3] * sides(at, place, length, step, k + 3);
        sum = k == 1 ? ((w[0] * at[0] + a) + b) + (c + d) : sum + ((a + b) + (c + d));
    }
    return sum;
}

KERNEL smooth_along_rows(
    const float* image, long long height, long long width, long long widths, const float* weights, long long reach,
    float* rows)
{
    ITEMS(i, widths * height * width) {
        const long long n = i / (height * width), p = i % (height * width);
        rows[i] = weigh(image + p, p % width, width, 1, weights + n * (reach + 1), (int)reach);
    }
}

KERNEL standardise(
    const float* rows, long long height, long long width, long long widths, const float* weights, long long reach,
    const unsigned char* seen, float largest_0, float largest_1, float rate, float bound, long long maps,
    long long newest, float* mean, float* variance, float* map)
{
    ITEMS(i, widths * height * width) {
        const long long n = i / (height * width), p = i % (height * width);
        const float smooth = weigh(rows + i, p / width, height, width, weights + n * (reach + 1), (int)reach);
        const float largest = n ? largest_1 : largest_0;
        const float d = smooth - mean[i], before = variance[i] < largest ? variance[i] : largest;
        const float sigma = sqrtf(before), most = bound * sigma;
        const float above = d < most ? d : most, limited = above > -most ? above : -most;
        mean[i] += rate * limited;
        variance[i] = before + rate * (limited * limited - before);
        map[(n * maps + newest) * height * width + p] = seen[p] ? d / (sigma > 1e-6f ? sigma : 1e-6f) : 0;
    }
}

KERNEL pool(
    float* map, long long pixels, long long widths, long long maps, long long newest, float factor_0, float factor_1,
    const float* weights, const unsigned char* seen, float* pooled)
{
    ITEMS(i, widths * pixels) {
        const long long n = i / pixels, p = i % pixels;
        float* own = map + n * maps * pixels + p;
        const float now = (n ? factor_1 : factor_0) * own[newest * pixels];
        own[newest * pixels] = now;
        float sum = weights[0] * now;
        for (long long j = 1; j < maps; ++j) sum += own[(newest - j + maps) % maps * pixels] * weights[j];
        pooled[2 * n * pixels + p] = pooled[(2 * n + 1) * pixels + p];
        pooled[(2 * n + 1) * pixels + p] = seen[p] ? sum : 0;
    }
}

KERNEL divide_pooled(
    float* pooled, long long pixels, long long widths, float sigma_0, float sigma_1, float decay, float* suppressed)
{
    ITEMS(i, widths * pixels) {
        const long long n = i / pixels, p = i % pixels;
        pooled[(2 * n + 1) * pixels + p] /= n ? sigma_1 : sigma_0;
        if (n == 0) suppressed[p] *= decay;
    }
}

KERNEL mark_peaks(
    const float* pooled, long long height, long long width, long long widths, float least, long long radius,
    const float* suppressed, float* marks)
{
    ITEMS(i, widths * height * width) {
        const long long n = i / (height * width), p = i % (height * width), y = p / width, x = p % width;
        const float* before = pooled + 2 * n * height * width;
        const float* now = before + height * width;
        const float z = before[p];
        bool peak = z >= least && z >= suppressed[p];
        for (long long j = y - radius; peak && j <= y + radius; ++j)
            for (long long c = x - radius; c <= x + radius; ++c)
                if (j >= 0 && j < height && c >= 0 && c < width && before[j * width + c] > z) peak = false;
        for (long long j = y - 1; peak && j <= y + 1; ++j)
            for (long long c = x - 1; c <= x + 1; ++c)
                if (j >= 0 && j < height && c >= 0 && c < width && now[j * width + c] >= z) peak = false;
        marks[i] = peak ? z : 0;
    }
}

KERNEL suppress_places(
    const float* places, long long count, long long radius, long long height, long long width, float* suppressed)
{
    BLOCKS(b, 1) {
        for (long long n = 0; n < count; ++n) {
            EACH(t) {
                const long long side = 2 * radius + 1;
                for (long long p = t; p < side * side; p += THREADS) {
                    const long long y = (long long)places[3 * n] + p / side - radius;
                    const long long x = (long long)places[3 * n + 1] + p % side - radius;
                    if (y >= 0 && y < height && x >= 0 && x < width) suppressed[y * width + x] = places[3 * n + 2];
                }
            }
        }
    }
}
"""
