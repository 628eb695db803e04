/* COUNT threads are cancelled while they allocate: none may end inside malloc or free, which are no cancellation points. */
#include "host.h"

struct place {
    volatile int inside;
    volatile int running;
};

static void at_end(void *argument) {
    struct place *place = argument;
    if (place->inside) _exit(96);
}

static void *run(void *argument) {
    struct place *place = argument;
    pthread_cleanup_push(at_end, place);
    for (;;) {
        place->inside = 1;
        void *block = malloc(5001);
        void *range = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        munmap(range, 4096);
        free(block);
        place->inside = 0;
        place->running = 1;
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) {
        struct place place = {0, 0};
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, run, &place) == 0);
        while (!place.running) sched_yield();
        CHECK(pthread_cancel(thread) == 0);
        void *result;
        CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
        CHECK(malloc(10001));
    }
    report_open_files();
    return 0;
}
