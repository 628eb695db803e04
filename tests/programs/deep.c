/* Leaks a block of 10001 bytes DEPTH calls below main. */
#include "host.h"

NOINLINE int leaf(void) { CHECK(malloc(10001)); return 1; }
NOINLINE int recurse(int depth) { return depth ? recurse(depth - 1) + 1 : leaf(); }

int main(int argc, char **argv) {
    int depth = atoi(argv[argc - 1]);
    CHECK(recurse(depth) == depth + 1);
    report_open_files();
    return 0;
}
