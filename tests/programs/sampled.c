/* THREADS threads allocate blocks of many sizes in ROUNDS rounds. Half of them is freed by the next thread, a quarter is
 * moved by realloc, one in four stays ("keep") or is freed at the very end ("free"). Prints the live bytes and blocks. */
#include "host.h"

#define THREADS 4
#define SIZES 6
static const size_t sizes[SIZES] = {17, 101, 1003, 10007, 70001, 300007};
/* So many of each size in a round: all sizes weigh, and small ones are many. */
static const int counts[SIZES] = {800, 400, 80, 12, 3, 1};

static int rounds;
/* What a thread hands to the next one, and what stays. */
static void **handed[THREADS], **kept[THREADS];
static int kept_count[THREADS];
static unsigned long long kept_bytes[THREADS];
static pthread_barrier_t barrier;

static void *work(void *argument) {
    int thread = (int)(intptr_t)argument, keeps = 0;
    for (int round = 0; round < rounds; round++) {
        int hands = 0, number = 0;
        for (int size = 0; size < SIZES; size++)
            for (int i = 0; i < counts[size]; i++, number++) {
                char *block = malloc(sizes[size]);
                CHECK(block);
                if ((number + round) % 4 == 0) {
                    kept[thread][keeps++] = block;
                    kept_bytes[thread] += sizes[size];
                } else if ((number + round) % 4 == 1) {
                    block = realloc(block, sizes[size] * 2);
                    CHECK(block);
                    volatile size_t too_much = PTRDIFF_MAX;
                    CHECK(!realloc(block, too_much));
                    free(block);
                } else {
                    handed[thread][hands++] = block;
                }
            }
        pthread_barrier_wait(&barrier);
        void **others = handed[(thread + 1) % THREADS];
        for (int i = 0; others[i]; i++) {
            free(others[i]);
            others[i] = NULL;
        }
        pthread_barrier_wait(&barrier);
    }
    kept_count[thread] = keeps;
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    rounds = atoi(argv[1]);
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        /* Not from the heap that is counted. */
        size_t bytes = (size_t)rounds * 1300 * sizeof(void *);
        kept[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        handed[i] = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(kept[i] != MAP_FAILED && handed[i] != MAP_FAILED);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    unsigned long long bytes = 0, blocks = 0;
    for (int i = 0; i < THREADS; i++) bytes += kept_bytes[i], blocks += kept_count[i];
    if (argv[2][0] == 'f') {
        for (int i = 0; i < THREADS; i++)
            for (int block = 0; block < kept_count[i]; block++) free(kept[i][block]);
        bytes = blocks = 0;
    }
    printf("%llu %llu\n", bytes, blocks);
    report_open_files();
    return 0;
}
