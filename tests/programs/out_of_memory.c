/* Keeps blocks of 20001 bytes and counts them in the file COUNT, until there is no more memory for it. */
#include "host.h"

int main(int argc, char **argv) {
    int file = open(argv[argc - 1], O_RDWR | O_CREAT, 0600);
    CHECK(file != -1 && ftruncate(file, 4096) == 0);
    volatile uint64_t *kept = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(kept != MAP_FAILED);
    for (;;) {
        char *block = malloc(20001);
        CHECK(block);
        ++*kept;
        memset(block, 1, 20001);
    }
}
