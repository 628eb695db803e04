/* Every function of the malloc family, COUNT times each, with a marker size of its own; half is freed. */
#include "host.h"

typedef void (*sized_free)(void *, size_t);
typedef void (*aligned_free)(void *, size_t, size_t);

static void plain_sized(void *block, size_t size) { (void)size; free(block); }
static void plain_aligned(void *block, size_t alignment, size_t size) { (void)alignment; (void)size; free(block); }

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    /* Not in every libc; the tracer brings them where they are missing. */
    void (*c_free)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    sized_free free_sized_ = (sized_free)dlsym(RTLD_DEFAULT, "free_sized");
    aligned_free free_aligned_ = (aligned_free)dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!c_free) c_free = free;
    if (!free_sized_) free_sized_ = plain_sized;
    if (!free_aligned_) free_aligned_ = plain_aligned;
    for (int i = 0; i < count; i++) {
        int keep = i & 1;
        char *block;
#define USE(expression, size, release)                  \
    block = (expression);                               \
    CHECK(block);                                       \
    memset(block, 7, size);                             \
    if (!keep) { release; }
        USE(malloc(10001), 10001, free(block))
        USE(calloc(7, 1429), 10003, free(block)) /* 7 * 1429 = 10003 */
        USE(realloc(NULL, 10005), 10005, free(block))
        USE(reallocarray(NULL, 3, 3369), 10107, free(block))
        CHECK(posix_memalign((void **)&block, 256, 10009) == 0 && (uintptr_t)block % 256 == 0);
        if (!keep) free(block);
        USE(aligned_alloc(128, 10240 + 128), 10240, free(block))
        USE(memalign(512, 10013), 10013, free(block))
        USE(valloc(10015), 10015, free(block))
        USE(pvalloc(10017), 10017, free(block))
        USE(malloc(10019), 10019, c_free(block))
        USE(malloc(10021), 10021, free_sized_(block, 10021))
        USE(aligned_alloc(64, 10432), 10432, free_aligned_(block, 64, 10432))
    }
    report_open_files();
    return 0;
}
