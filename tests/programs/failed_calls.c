/* Calls that fail leave their block alive: realloc, reallocarray (too large, overflow), and friends. errno is libc's. */
#include "host.h"

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    size_t huge = (size_t)1 << 62, half = (size_t)1 << 33;
    for (int i = 0; i < count; i++) {
        char *block = malloc(30001);
        CHECK(block);
        memset(block, i, 30001);
        OPAQUE(huge);
        OPAQUE(half);
        errno = 0;
        CHECK(realloc(block, huge) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(reallocarray(block, half, half) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(malloc(huge) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(calloc(half, half) == NULL && errno == ENOMEM);
        void *unset = (void *)1;
        errno = 4711;
        CHECK(posix_memalign(&unset, 3, 30003) == EINVAL && unset == (void *)1 && errno == 4711);
        CHECK(block[30000] == (char)i);
        errno = 4711;
        if (i % 4) free(block);
        void *probe = malloc(30005);
        free(probe);
        CHECK(errno == 4711);
    }
    report_open_files();
    return 0;
}
