/* Leaks COUNT blocks of 10001 bytes and frees as many of 10003 in two threads, then ends as HOW says. */
#include "host.h"
#include <signal.h>
#include <sys/syscall.h>

static int count;

static void *work(void *unused) {
    for (int i = 0; i < count; i++) {
        void *block = malloc(10003);
        CHECK(malloc(10001));
        free(block);
    }
    return unused;
}

static void *end_process(void *unused) {
    exit(0);
    return unused;
}

NOINLINE int overflow(int depth) {
    if (depth < 0) return 0;
    volatile char frame[4096];
    frame[0] = (char)depth;
    return overflow(depth + 1) + frame[0];
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *how = argv[1];
    count = atoi(argv[2]);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, work, NULL) == 0);
    work(NULL);
    pthread_join(other, NULL);
    report_open_files();
    if (!strcmp(how, "_exit")) _exit(0);
    if (!strcmp(how, "quick_exit")) quick_exit(0);
    if (!strcmp(how, "exit_group")) syscall(SYS_exit_group, 0);
    if (!strcmp(how, "thread")) {
        CHECK(pthread_create(&other, NULL, end_process, NULL) == 0);
        pthread_join(other, NULL);
    }
    if (!strcmp(how, "main_ends")) pthread_exit(NULL);
    if (!strcmp(how, "exec")) execl("/bin/true", "true", NULL);
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "sigkill")) kill(getpid(), SIGKILL);
    if (!strcmp(how, "sigterm")) kill(getpid(), SIGTERM);
    if (!strcmp(how, "sigsegv")) *(volatile int *)8 = 1;
    if (!strcmp(how, "overflow")) return overflow(0);
    return 0;
}
