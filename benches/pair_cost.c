/* What a malloc/free pair costs: nanoseconds of processor time, the least, the median and the last of 15 rounds.
 *
 *     cc -O2 -fno-builtin -pthread -o pair_cost benches/pair_cost.c
 *     ./pair_cost [BYTES] [WINDOW] [DEPTH] [OTHERS]
 *
 * WINDOW blocks live at any time: each is freed so many allocations after it was made. Everything happens DEPTH
 * calls deep. So many OTHER threads only wait: a tracer that works in threads of its own where the host has some does so
 * then, and the time is the whole process's. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 15, PAIRS = 1000000, MOST = 10000000 };

static clockid_t clock_used = CLOCK_THREAD_CPUTIME_ID;

static double now(void) {
    struct timespec time;
    clock_gettime(clock_used, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static void *blocks[MOST];

static double round_of(size_t bytes, int window) {
    double begin = now();
    for (int i = 0; i < PAIRS; i++) {
        void **place = &blocks[i % window];
        free(*place);
        *place = malloc(bytes);
        if (!*place) abort();
    }
    double end = now();
    return (end - begin) / PAIRS;
}

__attribute__((noinline)) static double deep(int depth, size_t bytes, int window) {
    volatile double result = depth > 1 ? deep(depth - 1, bytes, window) : round_of(bytes, window);
    return result;
}

static void *wait_for_the_end(void *unused) {
    for (;;) pause();
    return unused;
}

int main(int argc, char **argv) {
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    int window = argc > 2 ? atoi(argv[2]) : 1, depth = argc > 3 ? atoi(argv[3]) : 20;
    if (window < 1 || window > MOST) return 2;
    for (int others = argc > 4 ? atoi(argv[4]) : 0; others > 0; others--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, wait_for_the_end, NULL)) abort();
        clock_used = CLOCK_PROCESS_CPUTIME_ID;
    }
    for (int i = 0; i < window; i++)
        if (!(blocks[i] = malloc(bytes))) abort();
    double times[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) times[i] = deep(depth, bytes, window);
    double last = times[ROUNDS - 1];
    qsort(times, ROUNDS, sizeof *times, compare);
    printf("%.1f ns least, %.1f ns median, %.1f ns last\n", times[0], times[ROUNDS / 2], last);
    return 0;
}
