/* Limits its address space to AMOUNT MiB more than it has, or in all ("of"), and says how many MiB it got then. */
#include "host.h"
#include <sys/resource.h>

int main(int argc, char **argv) {
    CHECK(argc == 3);
    rlim_t limit = (rlim_t)atol(argv[2]) << 20;
    if (!strcmp(argv[1], "more")) {
        long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        CHECK(file && fscanf(file, "%ld", &pages) == 1);
        fclose(file);
        limit += (rlim_t)pages * 4096;
    }
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
    int blocks = 0;
    char *last = NULL;
    for (char *block; (block = malloc(1 << 20)) != NULL; blocks++) {
        *(char **)block = last;
        last = block;
    }
    CHECK(errno == ENOMEM);
    /* Small ones still come from what is there. */
    for (int i = 0; i < 50; i++) free(malloc(101));
    for (char *block = last; block;) {
        char *next = *(char **)block;
        free(block);
        block = next;
    }
    fprintf(stderr, "%d\n", blocks);
    report_open_files();
    return 0;
}
