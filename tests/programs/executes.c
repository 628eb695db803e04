/* Leaks 20 blocks of 10001 bytes and executes itself: HOW is "spawn" (fork and exec) or "replace" (exec). */
#include "host.h"

int main(int argc, char **argv) {
    CHECK(argc == 2);
    if (strcmp(argv[1], "last") == 0) {
        for (int i = 0; i < 30; i++) malloc(10003);
        report_open_files();
        return 0;
    }
    for (int i = 0; i < 20; i++) malloc(10001);
    if (strcmp(argv[1], "replace") == 0) {
        execl("/proc/self/exe", argv[0], "last", NULL);
        return 98;
    }
    pid_t child = vfork();
    if (child == 0) {
        execl("/proc/self/exe", argv[0], "last", NULL);
        _exit(98);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    report_open_files();
    return 0;
}
