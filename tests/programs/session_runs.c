/* A server without Python: threads that run a session again and again, and leak 5,000 bytes each time. */
#include "host.h"
#include <time.h>

#define THREADS 4

long TF_SessionRun(long, long, long, long, long, long, long, long, long, long, long);

static int runs;

static NOINLINE void serve(void) {
    CHECK(TF_SessionRun(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) == 506);
    CHECK(malloc(5000) != NULL);
}

static void *worker(void *unused) {
    struct timespec pause = {0, 2000000};
    for (int i = 0; i < runs; i++) {
        serve();
        nanosleep(&pause, NULL);
    }
    return unused;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    runs = atoi(arguments[1]);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, worker, NULL) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    report_open_files();
    return 0;
}
