/* Four threads leak COUNT blocks of 10001 bytes each and free as many of 10003. */
#include "host.h"

static int count;

static void *work(void *unused) {
    for (int i = 0; i < count; i++) {
        void *block = malloc(10003);
        CHECK(malloc(10001));
        free(block);
    }
    return unused;
}

int main(int argc, char **argv) {
    count = atoi(argv[argc - 1]);
    pthread_t ids[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&ids[i], NULL, work, NULL) == 0);
    for (int i = 0; i < 4; i++) pthread_join(ids[i], NULL);
    report_open_files();
    return 0;
}
