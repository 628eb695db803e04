/* Two threads allocate PAIRS blocks each of eight sizes; a bounded number lives, one in seven is freed by the other
 * thread. Counts what it does, by size, in the shared file counts.bin: allocations begun and done, frees begun and done. */
#include "host.h"

#include <stdatomic.h>
#include <time.h>

#define SIZES 8
#define WINDOW 3000
#define MAILBOXES 16

typedef atomic_ullong Counts[SIZES][4];
static Counts *counts;
static _Atomic(void *) mailboxes[SIZES][MAILBOXES];
static long pairs;

static size_t size_of(int index) { return 1001 + 10 * (size_t)index; }

static void release(void *block) {
    if (!block) return;
    atomic_ullong *of_size = (*counts)[*(int *)block];
    atomic_fetch_add(&of_size[2], 1);
    free(block);
    atomic_fetch_add(&of_size[3], 1);
}

static void *work(void *unused) {
    static _Thread_local void *window[WINDOW];
    for (long i = 0; i < pairs; i++) {
        int index = (int)(i % SIZES);
        atomic_ullong *of_size = (*counts)[index];
        atomic_fetch_add(&of_size[0], 1);
        int *block = malloc(size_of(index));
        atomic_fetch_add(&of_size[1], 1);
        CHECK(block);
        *block = index;
        if (i % 7 == 0) {
            release(atomic_exchange(&mailboxes[index][i / 56 % MAILBOXES], block));
        } else {
            release(window[i % WINDOW]);
            window[i % WINDOW] = block;
        }
        /* As a service does: not all the time. What outruns the drain outruns the bound. */
        if (i % 1000 == 0) nanosleep(&(struct timespec){.tv_nsec = 8000000}, NULL);
    }
    return unused;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    pairs = atol(argv[1]);
    int file = open("counts.bin", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && ftruncate(file, sizeof *counts) == 0);
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(counts != MAP_FAILED);
    close(file);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, work, NULL) == 0);
    work(NULL);
    pthread_join(other, NULL);
    report_open_files();
    return 0;
}
