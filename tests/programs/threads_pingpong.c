/* One thread allocates, another frees at once, so that addresses come back within nanoseconds; two pairs. */
#include "host.h"
#include <sched.h>
#include <stdatomic.h>

static int count;
static _Atomic(void *) boxes[2];

static void *give(void *box_) {
    _Atomic(void *) *box = box_;
    for (int i = 0; i < count; i++) {
        void *block = malloc(20001), *empty = NULL;
        CHECK(block);
        while (!atomic_compare_exchange_weak(box, &empty, block)) { empty = NULL; sched_yield(); }
    }
    return NULL;
}

static void *take(void *box_) {
    _Atomic(void *) *box = box_;
    for (int i = 0; i < count;) {
        void *block = atomic_exchange(box, NULL);
        if (!block) { sched_yield(); continue; }
        free(block);
        /* Takes the address that was just released. */
        void *again = malloc(20003);
        free(again);
        i++;
    }
    return NULL;
}

int main(int argc, char **argv) {
    count = atoi(argv[argc - 1]);
    pthread_t ids[4];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&ids[2 * i], NULL, give, &boxes[i]) == 0);
        CHECK(pthread_create(&ids[2 * i + 1], NULL, take, &boxes[i]) == 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(ids[i], NULL);
    report_open_files();
    return 0;
}
