/* main calls a, b and c; c leaks COUNT blocks of 10001 bytes. */
#include "host.h"

NOINLINE void c(void) { CHECK(malloc(10001)); }
NOINLINE void b(void) { c(); }
NOINLINE void a(void) { b(); }

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) a();
    report_open_files();
    return 0;
}
