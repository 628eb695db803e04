/* Forks COUNT children while four threads allocate; each child starts a thread of its own and forks once more. */
#include "host.h"

static volatile int stop;

static void *churn(void *unused) {
    while (!stop) free(malloc(777));
    return unused;
}

static void *leak(void *unused) {
    for (int i = 0; i < 50; i++) CHECK(malloc(10003));
    return unused;
}

static void await(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void child(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, leak, NULL) == 0);
    pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    if (grandchild == 0) {
        leak(NULL);
        _exit(0);
    }
    await(grandchild);
    pthread_join(thread, NULL);
    _exit(0);
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    for (int i = 0; i < count; i++) {
        CHECK(malloc(10001));
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) child();
        CHECK(malloc(10001));
        await(pid);
    }
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    report_open_files();
    return 0;
}
