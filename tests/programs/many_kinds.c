/* Allocates and frees a block of each of KINDS sizes from 10,001 on, ROUNDS times over. */
#include "host.h"

int main(int argc, char **argv) {
    CHECK(argc == 3);
    size_t kinds = (size_t)atol(argv[1]);
    for (long round = atol(argv[2]); round > 0; round--)
        for (size_t kind = 0; kind < kinds; kind++) {
            void *volatile block = malloc(10001 + kind);
            CHECK(block);
            free(block);
        }
    return 0;
}
