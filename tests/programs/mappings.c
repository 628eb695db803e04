/* Maps and unmaps COUNT times, whole mappings, parts of them, and mappings that move. Odd lengths are the markers. */
#include "host.h"

static char *map(size_t length) {
    char *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED);
    start[0] = 1;
    return start;
}

NOINLINE static char *keep_part(size_t length) { return map(length); }
NOINLINE static char *keep_moved(size_t length) { return map(length); }

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) {
        char *whole = map(1000003);
        if (i % 4) CHECK(munmap(whole, 1000003) == 0);
        /* 32 pages, of which the second and the last two quarters go: one quarter (32 KiB) stays. */
        char *part = keep_part(131072);
        CHECK(munmap(part + 32768, 32768) == 0);
        CHECK(munmap(part + 65536, 65536) == 0);
        CHECK(part[0] == 1);
        char *moved = keep_moved(40960);
        moved = mremap(moved, 40960, 81920 + 8192, MREMAP_MAYMOVE);
        CHECK(moved != MAP_FAILED && moved[0] == 1);
        CHECK(mremap(moved, 81920 + 8192, (size_t)1 << 62, MREMAP_MAYMOVE) == MAP_FAILED);
        CHECK(munmap(moved + 1, 4096) == -1 && errno == EINVAL);
    }
    report_open_files();
    return 0;
}
