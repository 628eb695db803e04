/* Prepares a picture for the model: shrinks it, and stretches its contrast if it needs that.
 *
 * It has a leak on purpose: the way out for pictures that need no stretching forgets `scratch`. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Shrinks `pixels` (side x side) to `small` (32 x 32), values from 0 to 1.
 * Gives 1 if the contrast was stretched, 0 if it was good already, -1 if there was no memory. */
int normalize_request(const uint8_t *pixels, size_t side, float *small) {
    enum { SMALL_SIDE = 32 };
    float *scratch = malloc(side * side * sizeof *scratch);
    if (scratch == NULL) return -1;
    float darkest = 1, brightest = 0;
    for (size_t i = 0; i < side * side; i++) {
        scratch[i] = pixels[i] / 255.0f;
        if (scratch[i] < darkest) darkest = scratch[i];
        if (scratch[i] > brightest) brightest = scratch[i];
    }
    int dim = brightest - darkest < 0.5f;
    float low = dim ? darkest : 0, range = dim ? brightest - darkest + 0.001f : 1;
    size_t step = side / SMALL_SIDE;
    for (size_t y = 0; y < SMALL_SIDE; y++)
        for (size_t x = 0; x < SMALL_SIDE; x++)
            small[y * SMALL_SIDE + x] = (scratch[y * step * side + x * step] - low) / range;
    if (!dim) return 0; /* the leak: `scratch` is forgotten here */
    free(scratch);
    return 1;
}
