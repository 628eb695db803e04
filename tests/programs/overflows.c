/* 60 times: allocates ever deeper until the stack is used up, and comes back from the handler's own stack. */
#include "host.h"
#include <setjmp.h>
#include <signal.h>

static sigjmp_buf back;
static int allocated;

static void handle(int signal) { siglongjmp(back, signal); }

NOINLINE int deeper(int depth) {
    if (depth < 0) return 0;
    volatile char frame[512];
    frame[0] = (char)depth;
    if (depth % 16 == 0) {
        char *block = malloc(333);
        if (block) block[0] = 1;
        free(block);
    }
    return deeper(depth + 1) + frame[0];
}

static void *run(void *unused) {
    stack_t stack = {.ss_sp = mmap(NULL, 16384, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 16384};
    CHECK(stack.ss_sp != MAP_FAILED && sigaltstack(&stack, NULL) == 0);
    for (int i = 0; i < 60; i++) {
        if (sigsetjmp(back, 1) == 0) deeper(1);
        for (int j = 0; j < 10; j++) CHECK(malloc(10001));
        allocated++;
    }
    return unused;
}

int main(void) {
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    pthread_t thread;
    CHECK(pthread_create(&thread, &small, run, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(allocated == 60);
    report_open_files();
    return 0;
}
