/* Leaves deep stacks by longjmp, then allocates; the stack must be the new one. */
#include "host.h"
#include <setjmp.h>

static jmp_buf back;

NOINLINE void dive(int depth) {
    void *block = malloc(10001);
    free(block);
    if (depth == 0) longjmp(back, 1);
    dive(depth - 1);
    OPAQUE(depth);
}
NOINLINE void after_jump(void) { CHECK(malloc(20001)); }
NOINLINE void attempt(int depth) {
    if (setjmp(back) == 0) dive(depth);
    after_jump();
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    for (int i = 0; i < count; i++) attempt(i % 60);
    report_open_files();
    return 0;
}
