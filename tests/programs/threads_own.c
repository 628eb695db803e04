/* THREADS threads allocate and free COUNT blocks each, a live window of 64 blocks, and leave their last 10. */
#include "host.h"

static int count;

static void *work(void *unused) {
    void *window[64] = {0};
    for (int i = 0; i < count; i++) {
        void **place = &window[i % 64];
        free(*place);
        *place = malloc(10001);
        CHECK(*place);
    }
    for (int i = 0; i < 54; i++) free(window[i]);
    return unused;
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    int threads = atoi(argv[1]);
    count = atoi(argv[2]);
    pthread_t ids[64];
    for (int i = 0; i < threads; i++) CHECK(pthread_create(&ids[i], NULL, work, NULL) == 0);
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    report_open_files();
    return 0;
}
