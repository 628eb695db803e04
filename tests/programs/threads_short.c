/* COUNT threads, eight at a time; each allocates twice, frees once, and frees what the one before it left. */
#include "host.h"
#include <stdatomic.h>

static _Atomic(void *) left;

static void *work(void *unused) {
    void *own = malloc(10001);
    CHECK(own);
    free(atomic_exchange(&left, malloc(10003)));
    free(own);
    return unused;
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    pthread_t ids[8];
    for (int i = 0; i < count; i += 8) {
        for (int k = 0; k < 8; k++) CHECK(pthread_create(&ids[k], NULL, work, NULL) == 0);
        for (int k = 0; k < 8; k++) pthread_join(ids[k], NULL);
    }
    report_open_files();
    return 0;
}
