"""Sums behind live summary images on a card: one thread a pixel, a cell's frames in turn."""

# The additions of `add_frames`, in its order. Of a cell of 32 frames of 2 bytes: 64 bytes a pixel, its neighbours' from
# the caches, and 120 of the sums, of floats 304: 6 bytes a pixel and frame; 10 additions and products in float64.
NEIGHBOUR_SUMS = """
DEVICE double seen_or_zero(double x) { return x == x ? x : 0; }

DEVICE double inside(const PIXEL* frames, long long at) { return (double)(INSIDE)frames[at]; }

DEVICE void add_alone(double a, double b, double* alone, long long pixels)
{
    if (b != b && a == a) {
        alone[0] += a;
        alone[pixels] += a * a;
    } else if (a != a && b == b) {
        alone[2 * pixels] += b;
        alone[3 * pixels] += b * b;
    }
}

KERNEL add_frames(
    const PIXEL* frames, long long n, long long height, long long width, long long unbroken, const double* pivot,
    double* total, double* squares, double* right, double* down, double* steps, INSIDE* high, int* missing,
    double* alone, INSIDE* last_frame)
{
    ITEMS(i, height * width) {
        const long long pixels = height * width;
        const bool has_right = i % width + 1 < width, has_below = i + width < pixels;
        const double here = pivot[i], beside = has_right ? pivot[i + 1] : 0, beneath = has_below ? pivot[i + width] : 0;
        double sum = total[i], sum_squares = squares[i], sum_right = right[i], sum_down = down[i], sum_steps = steps[i];
        double highest = (double)high[i];
        double before = unbroken ? (double)last_frame[i] : inside(frames, i);
        for (long long f = 0; f < n; f += 4) {
            const int some = n - f < 4 ? (int)(n - f) : 4;
            double d[4] = {0, 0, 0, 0}, r[4] = {0, 0, 0, 0}, e[4] = {0, 0, 0, 0}, s[4] = {0, 0, 0, 0};
            for (int k = 0; k < 4; ++k) {
                if (k >= some) continue;
                const long long at = (f + k) * pixels + i;
                const double x = inside(frames, at);
                d[k] = seen_or_zero(x - here);
                if (has_right) r[k] = seen_or_zero(inside(frames, at + 1) - beside);
                if (has_below) e[k] = seen_or_zero(inside(frames, at + width) - beneath);
                s[k] = seen_or_zero(fabs(x - before));
                before = x;
                highest = x > highest ? x : highest;
            }
            sum += (d[0] + d[1]) + (d[2] + d[3]);
            sum_squares += (d[0] * d[0] + d[1] * d[1]) + (d[2] * d[2] + d[3] * d[3]);
            sum_down += (d[0] * e[0] + d[1] * e[1]) + (d[2] * e[2] + d[3] * e[3]);
            sum_right += (d[0] * r[0] + d[1] * r[1]) + (d[2] * r[2] + d[3] * r[3]);
            sum_steps += (s[0] + s[1]) + (s[2] + s[3]);
        }
        if (COUNTED) {
            double earlier = unbroken ? (double)last_frame[i] : 0;
            int unseen[4] = {0, 0, 0, 0};
            for (long long f = 0; f < n; ++f) {
                const long long at = f * pixels + i;
                const double x = inside(frames, at);
                unseen[0] += x != x;
                if (has_right) {
                    const double other = inside(frames, at + 1);
                    unseen[1] += x != x || other != other;
                    add_alone(x - here, other - beside, alone + i, pixels);
                }
                if (has_below) {
                    const double other = inside(frames, at + width);
                    unseen[2] += x != x || other != other;
                    add_alone(x - here, other - beneath, alone + 4 * pixels + i, pixels);
                }
                if (f || unbroken) unseen[3] += x != x || earlier != earlier;
                earlier = x;
            }
            for (int k = 0; k < 4; ++k) missing[k * pixels + i] += unseen[k];
        }
        total[i] = sum;
        squares[i] = sum_squares;
        right[i] = sum_right;
        down[i] = sum_down;
        steps[i] = sum_steps;
        high[i] = (INSIDE)highest;
        last_frame[i] = (INSIDE)before;
    }
}
"""
