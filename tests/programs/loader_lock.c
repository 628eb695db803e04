/* Allocates inside a callback of dl_iterate_phdr, and so under a lock of the loader's, for 600 ms, while another
 * thread waits for that lock in the middle of loading LIBRARY. */
#include "host.h"
#include <link.h>
#include <stdatomic.h>
#include <time.h>

static const char *library;
static atomic_int inside, loading;

static void nap(long milliseconds) {
    struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

static void *load(void *unused) {
    while (!inside) nap(1);
    loading = 1;
    CHECK(dlopen(library, RTLD_NOW));
    return unused;
}

static int allocate(struct dl_phdr_info *info, size_t size, void *count) {
    (void)info, (void)size;
    inside = 1;
    while (!loading) nap(1);
    for (int i = 0; i < 60; i++) {
        nap(10);
        void *block = malloc(10003);
        CHECK(block);
        free(block);
        ++*(int *)count;
    }
    return 1;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    library = argv[1];
    pthread_t loader;
    CHECK(pthread_create(&loader, NULL, load, NULL) == 0);
    int count = 0;
    CHECK(dl_iterate_phdr(allocate, &count) == 1 && count == 60);
    pthread_join(loader, NULL);
    report_open_files();
    return 0;
}
