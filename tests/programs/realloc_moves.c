/* Grows COUNT blocks from 20001 to 20003 to 20005 bytes; frees all but one in ten. */
#include "host.h"

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) {
        char *block = malloc(20001);
        CHECK(block);
        block[20000] = 5;
        char *grown = realloc(block, 20003);
        CHECK(grown && grown[20000] == 5);
        grown = realloc(grown, 20005);
        CHECK(grown && grown[20000] == 5);
        if (i % 10) free(grown);
    }
    report_open_files();
    return 0;
}
