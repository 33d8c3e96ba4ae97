"""Images of half the size for a coarse search on a card: of a frame, and of the structure of the template."""

from .frame_rows import BLOCK_PX

SEARCH = (
    f"""
#define SIDE {BLOCK_PX}
"""
    + """
KERNEL bin_2x2(long long height, long long width, const PIXEL* frame, float limit, float* binned)
{
    ITEMS(n, (height / 2) * (width / 2)) {
        const PIXEL* at = frame + n / (width / 2) * 2 * width + n % (width / 2) * 2;
        float total = 0;
        for (int k = 0; k < 4; ++k) {
            const float pixel = (float)at[k / 2 * width + k % 2];
            const float value = limit < pixel ? limit : pixel;
            total += value == value ? value : 0;
        }
        binned[n] = total;
    }
}

KERNEL bin_structure(long long height, long long width, const signed char* steps, const float* scale, float* binned)
{
    const long long blocks_x = (width + SIDE - 1) / SIDE;
    ITEMS(n, (height / 2) * (width / 2)) {
        const long long y = n / (width / 2) * 2, x = n % (width / 2) * 2, i = 2 * height * width + y * width + x;
        const float unit = scale[(y / SIDE * blocks_x + x / SIDE) * 3 + 2];
        binned[n] = ((float)steps[i] * unit + (float)steps[i + width] * unit)
            + ((float)steps[i + 1] * unit + (float)steps[i + width + 1] * unit);
    }
}
"""
)
