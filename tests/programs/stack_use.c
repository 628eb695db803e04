/* How much stack each function takes, on a stack of its own: at its first call in a thread, and at a later one. */
#include "host.h"
#include <ucontext.h>

enum { BYTES = 64 << 10, PAINT = 0x5A };

static __thread ucontext_t back, there;
static __thread char *stack;
static __thread int kind;
static __thread uintptr_t entered;

static void *kept[4];

static NOINLINE void call(void) {
    char here;
    entered = (uintptr_t)&here;
    switch (kind) {
    case 0: kept[0] = malloc(10001); break;
    case 1: kept[1] = calloc(1, 10003); break;
    case 2: kept[0] = realloc(kept[0], 10005); break;
    case 3: free(kept[1]); break;
    case 4: CHECK(posix_memalign(&kept[1], 64, 10007) == 0); break;
    case 5: kept[2] = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
    case 6: kept[2] = mremap(kept[2], 8192, 12288, MREMAP_MAYMOVE); break;
    case 7: CHECK(munmap(kept[2], 12288) == 0); break;
    }
}

/* Deep enough that a walk has something to do. */
static NOINLINE void below(int depth) {
    if (depth) {
        below(depth - 1);
        OPAQUE(depth);
    } else {
        call();
    }
}

static void body(void) {
    below(20);
}

static long use(void) {
    memset(stack, PAINT, BYTES);
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = BYTES;
    there.uc_link = &back;
    makecontext(&there, body, 0);
    swapcontext(&back, &there);
    char *lowest = stack;
    while (*lowest == PAINT) lowest++;
    return (long)(entered - (uintptr_t)lowest);
}

static void *measure(void *argument) {
    const char *names[] = {"malloc", "calloc", "realloc", "free", "posix_memalign", "mmap", "mremap", "munmap"};
    stack = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    for (kind = 0; kind < 8; kind++) fprintf(stderr, "%s %s %ld\n", (char *)argument, names[kind], use());
    munmap(stack, BYTES);
    return NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    char *when[] = {"cold", "new-thread", "warm", "warm", "warm"};
    /* The very first in the process, in a thread; then in one whose rules are known; then again in main. */
    for (int i = 0; i < 5; i++) {
        if (i < 2) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, measure, when[i]) == 0);
            pthread_join(thread, NULL);
        } else {
            measure(when[i]);
        }
    }
    report_open_files();
    return 0;
}
