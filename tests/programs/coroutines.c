/* Allocates on two coroutine stacks below the thread's own; the upper one is unmapped before the lower one is used. */
#include "host.h"
#include <ucontext.h>

static ucontext_t back, upper, lower;
static void body(void) { malloc(10001); }

static char *stack_at(char *place, size_t length) {
    char *start = mmap(place, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED);
    return start;
}

static void prepare(ucontext_t *context, char *stack, size_t length) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = length;
    context->uc_link = &back;
    makecontext(context, body, 0);
}

static void *run(void *unused) {
    (void)unused;
    size_t length = 1 << 16;
    char *here = (char *)((size_t)&length & ~(size_t)4095);
    char *first = stack_at(here - (2 << 20), length);
    char *second = stack_at(here - (4 << 20), length);
    prepare(&upper, first, length);
    prepare(&lower, second, length);
    for (int i = 0; i < 10; i++) malloc(10003);
    swapcontext(&back, &upper);
    CHECK(munmap(first, length) == 0);
    swapcontext(&back, &lower);
    CHECK(munmap(second, length) == 0);
    malloc(10003);
    return NULL;
}

int main(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 18);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &attributes, run, NULL) == 0);
        pthread_join(thread, NULL);
    }
    report_open_files();
    return 0;
}
