/* COUNT blocks of 10001 bytes are given back by realloc to zero bytes. */
#include "host.h"

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    size_t zero = 0;
    for (int i = 0; i < count; i++) {
        void *block = malloc(10001);
        OPAQUE(zero);
        CHECK(block && realloc(block, zero) == NULL);
    }
    report_open_files();
    return 0;
}
