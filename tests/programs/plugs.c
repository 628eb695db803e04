/* Loads PLUG_A, leaks 10001 bytes in it twice, unloads it, does the same with PLUG_B and 10003 bytes, COUNT times.
 * Says on stderr how often both lay at the same address, which the test wants to know. */
#include "host.h"

/* On another stack than before: what was learned of the library the first time is used here. */
static NOINLINE int again(int (*leak)(int), int size) {
    int leaked = leak(size);
    OPAQUE(leaked);
    return leaked;
}

static void *use(const char *path, const char *entry, int size) {
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library);
    int (*leak)(int) = (int (*)(int))dlsym(library, entry);
    CHECK(leak && leak(size) && again(leak, size));
    CHECK(dlclose(library) == 0);
    return (void *)leak;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    int count = atoi(argv[3]), same = 0;
    for (int i = 0; i < count; i++) {
        void *first = use(argv[1], "entry_of_a", 10001);
        same += first == use(argv[2], "entry_of_b", 10003);
    }
    printf("%s\n", same > 0 ? "addresses were reused" : "addresses were not reused");
    report_open_files();
    return 0;
}
