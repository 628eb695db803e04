/* COUNT threads, one after the other and eight at a time; each allocates in every round of its key's destructor. */
#include "host.h"
#include <limits.h>

static pthread_key_t key;

static void at_end(void *round) {
    uintptr_t next = (uintptr_t)round + 1;
    void *block = malloc(10001);
    OPAQUE(block);
    free(block);
    if (next <= PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(key, (void *)next);
}

static void *run(void *unused) {
    pthread_setspecific(key, (void *)1);
    /* The last round of the destructors frees what the thread made. */
    free(malloc(10003));
    return unused;
}

static long resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * 4096;
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    long early = 0;
    CHECK(pthread_key_create(&key, at_end) == 0);
    for (int done = 0; done < count; done += 8) {
        pthread_t threads[8];
        for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, run, NULL) == 0);
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        if (done == count / 10 / 8 * 8) early = resident();
    }
    if (argc > 2) fprintf(stderr, "%ld\n", resident() - early);
    CHECK(resident() - early < 16 << 20);
    report_open_files();
    return 0;
}
