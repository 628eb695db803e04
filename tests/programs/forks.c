/* The parent leaks 100 blocks of 10001 bytes before, and 100 after, a fork; the child leaks 50 of 10003. */
#include "host.h"

int main(void) {
    for (int i = 0; i < 100; i++) malloc(10001);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 50; i++) malloc(10003);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (int i = 0; i < 100; i++) malloc(10001);
    report_open_files();
    return 0;
}
