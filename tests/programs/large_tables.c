/* Uses a library with large unwind tables, and says how often its file is mapped at each step: before and after a
 * block is leaked in it, with one thread and with two, in a child, and after it is unloaded. COUNT: so many more are expected. */
#include "host.h"

static int mappings(const char *path) {
    char line[8192];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) count += strstr(line, path) != NULL;
    fclose(maps);
    return count;
}

/* What the tracer's own threads do comes a moment later. */
static int mappings_soon(const char *path, int expected) {
    int rounds = getenv("LD_PRELOAD") ? 4000 : 1;
    for (int i = 0; i < rounds && mappings(path) != expected; i++) usleep(5000);
    return mappings(path);
}

static void *wait_for_end(void *pipe) {
    char byte;
    CHECK(read(*(int *)pipe, &byte, 1) == 1);
    return NULL;
}

static NOINLINE void leak_in(void *library, int size) {
    int (*leak)(int) = (int (*)(int))dlsym(library, "entry_of_large");
    CHECK(leak);
    int leaked = leak(size);
    OPAQUE(leaked);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *path = argv[1];
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library);
    int plain = mappings(path);
    leak_in(library, 10001);
    printf("alone: %d more\n", mappings(path) - plain);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int inherited = mappings(path) - plain;
        leak_in(library, 10003);
        printf("child: %d, then %d more\n", inherited, mappings(path) - plain);
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(dlclose(library) == 0);
    printf("unloaded: %d left\n", mappings(path));

    int ends[2];
    pthread_t thread;
    CHECK(pipe(ends) == 0);
    CHECK(pthread_create(&thread, NULL, wait_for_end, &ends[0]) == 0);
    library = dlopen(path, RTLD_NOW);
    CHECK(library);
    leak_in(library, 10001);
    printf("with threads: %d more\n", mappings_soon(path, plain + atoi(argv[2])) - plain);
    leak_in(library, 10001);
    CHECK(dlclose(library) == 0);
    printf("unloaded: %d left\n", mappings_soon(path, 0));
    CHECK(write(ends[1], "", 1) == 1);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
    report_open_files();
    return 0;
}
