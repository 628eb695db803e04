/* A timer's handler maps and unmaps memory, 3,000 times, on a signal stack of 16 KiB, while main allocates. */
#include "host.h"
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t handled;

static void handle(int signal) {
    (void)signal;
    int before = errno;
    if (handled >= 3000) return;
    char *range = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (range == MAP_FAILED || munmap(range, 12288) != 0) _exit(97);
    handled++;
    errno = before;
}

int main(void) {
    stack_t stack = {.ss_sp = malloc(16384), .ss_size = 16384};
    CHECK(stack.ss_sp && sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK | SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 150}, {0, 150}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    while (handled < 3000) {
        void *blocks[40];
        for (int i = 0; i < 40; i++) blocks[i] = malloc(101 + i);
        for (int i = 0; i < 40; i++) free(blocks[i]);
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    for (int i = 0; i < 100; i++) malloc(10001);
    report_open_files();
    return 0;
}
