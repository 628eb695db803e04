/* Leaks 16,384 blocks of 101 bytes, each from a call stack of its own, and waits half a second beside a second thread. */
#include "host.h"

enum { DEPTH = 14 };

static NOINLINE int right(int depth);

static NOINLINE int left(int depth) {
    if (depth == 0) return malloc(101) != NULL;
    int count = left(depth - 1);
    count += right(depth - 1);
    return count;
}

static NOINLINE int right(int depth) {
    if (depth == 0) return malloc(101) != NULL;
    int count = left(depth - 1);
    count += right(depth - 1);
    return count;
}

static void *wait_a_little(void *unused) {
    usleep(500000);
    return unused;
}

int main(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_a_little, NULL) == 0);
    CHECK(left(DEPTH) == 1 << DEPTH);
    pthread_join(thread, NULL);
    report_open_files();
    return 0;
}
