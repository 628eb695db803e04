/* Four threads leak blocks, of 10001, 10003, 10005 and 10007 bytes, each counted in the file COUNT, until they are killed. */
#include "host.h"

static volatile uint64_t *counts;

static void *leak(void *which) {
    uintptr_t number = (uintptr_t)which;
    for (;;) {
        free(malloc(333));
        CHECK(malloc(10001 + 2 * number));
        counts[8 * number]++;
    }
    return NULL;
}

int main(int argc, char **argv) {
    int file = open(argv[argc - 1], O_RDWR | O_CREAT, 0600);
    CHECK(file != -1 && ftruncate(file, 4096) == 0);
    counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(counts != MAP_FAILED);
    pthread_t thread;
    for (uintptr_t i = 1; i < 4; i++) CHECK(pthread_create(&thread, NULL, leak, (void *)i) == 0);
    leak(NULL);
}
