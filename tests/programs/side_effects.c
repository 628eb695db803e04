/* errno and the floating-point flags are what they are without a tracer; a failed call says what it should. */
#include "host.h"
#include <xmmintrin.h>

int main(void) {
    for (int i = 0; i < 2000; i++) {
        _mm_setcsr(_mm_getcsr() & ~63u);
        errno = 4711;
        void *block = malloc(10001);
        block = realloc(block, 10003);
        free(block);
        free(calloc(7, 143));
        CHECK(posix_memalign(&block, 64, 10005) == 0);
        free(block);
        free(NULL);
        CHECK(errno == 4711);
        CHECK((_mm_getcsr() & 63) == 0);
    }
    size_t huge = PTRDIFF_MAX;
    OPAQUE(huge);
    void *untouched = (void *)&huge;
    errno = 0;
    CHECK(malloc(huge + 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(huge, 16) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(NULL, huge, 16) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(posix_memalign(&untouched, 3, 100) == EINVAL && untouched == (void *)&huge && errno == 0);
    errno = 0;
    CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
    for (size_t size = 1; size < 5000; size += 7) {
        void *block = malloc(size);
        CHECK(malloc_usable_size(block) >= size && (uintptr_t)block % 16 == 0);
        free(block);
    }
    fprintf(stdout, "usable %zu\n", malloc_usable_size(malloc(20001)));
    report_open_files();
    return 0;
}
