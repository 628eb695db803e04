/* Allocates and frees in a loop, in one or more threads, under a chosen depth of calls.
 *
 *     malloc_pairs MODE THREADS DEPTH COUNT
 *
 * pairs: each block is freed at once. batches: a hundred blocks live, then all die. cross: blocks are handed to the next
 * thread, which frees them (it needs two threads or more). Each thread allocates COUNT blocks. The only line printed is
 * the nanoseconds that a block took, of the slowest thread. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_THREADS = 64, BATCH = 100, RING = 1024 };

static const char *mode;
static int threads, depth;
static long count;
static _Atomic(void *) rings[MOST_THREADS][RING];
static double ns_per_block[MOST_THREADS];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *block(long number) {
    char *made = malloc(16 + (size_t)(number * 37 % 480));
    if (!made)
        abort();
    *(volatile char *)made = 1;
    return made;
}

static void work(int thread) {
    void *batch[BATCH];
    double begin = now();
    if (!strcmp(mode, "pairs")) {
        for (long i = 0; i < count; i++)
            free(block(i));
    } else if (!strcmp(mode, "batches")) {
        for (long i = 0; i < count; i += BATCH) {
            for (int k = 0; k < BATCH; k++)
                batch[k] = block(i + k);
            for (int k = 0; k < BATCH; k++)
                free(batch[k]);
        }
    } else {
        /* What stands in the place is from the round before: its free is another thread's. */
        int next = (thread + 1) % threads;
        for (long i = 0; i < count; i++) {
            free(atomic_exchange(&rings[next][i % RING], block(i)));
            free(atomic_exchange(&rings[thread][i % RING], NULL));
        }
    }
    ns_per_block[thread] = (now() - begin) / (double)count;
}

__attribute__((noinline)) static void descend(int left, int thread) {
    if (left > 0)
        descend(left - 1, thread);
    else
        work(thread);
    __asm__ volatile("" ::: "memory"); /* No tail call: each level is a frame. */
}

static void *run(void *number) {
    descend(depth, (int)(long)number);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    mode = argv[1], threads = atoi(argv[2]), depth = atoi(argv[3]), count = atol(argv[4]);
    if (threads < 1 || threads > MOST_THREADS || (!strcmp(mode, "cross") && threads < 2))
        return 2;
    pthread_t ids[MOST_THREADS];
    for (long i = 1; i < threads; i++)
        if (pthread_create(&ids[i], NULL, run, (void *)i))
            return 1;
    run((void *)0);
    double slowest = ns_per_block[0];
    for (int i = 1; i < threads; i++) {
        pthread_join(ids[i], NULL);
        slowest = ns_per_block[i] > slowest ? ns_per_block[i] : slowest;
    }
    printf("%.1f\n", slowest);
    return 0;
}
