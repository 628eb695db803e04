/* Memory of every owner, in known amounts, all of it there when the trace is flushed. */
#include "host.h"
#include <alloca.h>

#define THREADS 8
#define MIB (1 << 20)

extern int tftrace_flush(void) __attribute__((weak));
static pthread_barrier_t all_there;

static void touch(char *memory, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 4096) ((volatile char *)memory)[at] = 1;
}

static void *stand(void *unused) {
    touch(alloca(MIB), MIB);
    free(malloc(10007));
    pthread_barrier_wait(&all_there);
    pause();
    return unused;
}

static char *map(size_t bytes, int flags, int file) {
    char *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
    CHECK(mapped != MAP_FAILED);
    return mapped;
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, stand, NULL) == 0);
    /* A private file: 6 MiB, of which 4 are written. */
    char name[] = "ownersXXXXXX";
    int file = mkstemp(name);
    CHECK(file >= 0 && unlink(name) == 0 && ftruncate(file, 6 * MIB) == 0);
    touch(map(6 * MIB, MAP_PRIVATE, file), 4 * MIB);
    close(file);
    /* Mapped: 12 MiB touched, 200 MiB not. */
    touch(map(12 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1), 12 * MIB);
    map(200 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    /* The C heap: 20 MB in small blocks, one block of 16 MiB touched, and one of 64 MiB that is not. */
    for (int i = 0; i < 2000; i++) touch(malloc(10001), 10001);
    touch(malloc(16 * MIB), 16 * MIB);
    CHECK(malloc(64 * MIB) != NULL);
    pthread_barrier_wait(&all_there);
    if (tftrace_flush) CHECK(tftrace_flush() == 0);
    report_open_files();
    /* With all threads there: a later reading must not see less than the flush did. */
    _exit(0);
}
