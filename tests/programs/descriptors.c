/* Descriptors are the host's: the first is 3, none is inherited, and all can be closed, taken and written to. */
#include "host.h"

static void allocate(void) {
    for (int i = 0; i < 20000; i++) {
        CHECK(malloc(101));
        free(malloc(103));
    }
}

static void list(void) {
    report_open_files();
    exit(0);
}

int main(int argc, char **argv) {
    if (argc == 2) list();
    CHECK(open("/dev/null", O_RDONLY) == 3);
    allocate();
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", argv[0], "list", NULL);
        _exit(98);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close_range(3, ~0u, 0);
    char name[] = "descriptors.XXXXXX";
    int file = mkstemp(name);
    CHECK(file == 3 && unlink(name) == 0);
    /* Whoever still believes in a descriptor of its own writes into this file now. */
    for (int number = 4; number < 256; number++) CHECK(dup2(file, number) == number);
    allocate();
    CHECK(write(file, "mine", 4) == 4);
    allocate();
    CHECK(lseek(file, 0, SEEK_END) == 4);
    for (int number = 3; number < 256; number++) CHECK(close(number) == 0);
    allocate();
    report_open_files();
    return 0;
}
