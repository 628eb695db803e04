/* Calls malloc from code without unwind tables: with rbp as data, made at run time, and described at run time. */
#include "host.h"

void *without_tables(size_t size, uint64_t rbp, void *(*allocate)(size_t));
__asm__(".text\n.globl without_tables\nwithout_tables:\n"
        "push %rbp\nmov %rsi, %rbp\ncall *%rdx\npop %rbp\nret\n");

/* sub rsp, 8; call rsi; add rsp, 8; ret */
static const unsigned char code[] = {0x48, 0x83, 0xec, 8, 0xff, 0xd6, 0x48, 0x83, 0xc4, 8, 0xc3};

typedef void *(*made)(size_t, void *(*)(size_t));

static void describe(unsigned char *to, const void *start) {
    /* CIE: version 1, code 1, data -8, return address 16; cfa = rsp + 8, ra at cfa - 8. */
    static const unsigned char cie[] = {20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1, 0, 0, 0, 0, 0, 0};
    memcpy(to, cie, sizeof cie);
    uint32_t length = 28, back = sizeof cie + 4;
    uint64_t range[2] = {(uint64_t)start, sizeof code};
    memcpy(to + 24, &length, 4);
    memcpy(to + 28, &back, 4);
    memcpy(to + 32, range, 16);
    /* behind the first instruction: cfa = rsp + 16 */
    memcpy(to + 48, (unsigned char[]){0x44, 0x0e, 16, 0, 0, 0, 0, 0}, 8);
    memset(to + 56, 0, 4);
}

int main(int argc, char **argv) {
    int count = atoi(argv[argc - 1]);
    uint64_t values[] = {0, 1, 8, 0xDEADBEEF, ~0ull, 0x7FFFFFFFF000, (uint64_t)&count, (uint64_t)&count + 4,
                         (uint64_t)&argv, (uint64_t)main, 1ull << 63};
    int kinds = sizeof values / sizeof *values;
    for (int i = 0; i < count; i++) CHECK(without_tables(10001, values[i % kinds], malloc));
    unsigned char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memcpy(memory, code, sizeof code);
    describe(memory + 4096, memory);
    CHECK(mprotect(memory, 4096, PROT_READ | PROT_EXEC) == 0);
    made call = (made)(uintptr_t)memory;
    for (int i = 0; i < count; i++) CHECK(call(10003, malloc));
    void *unwinder = dlopen("libgcc_s.so.1", RTLD_NOW);
    CHECK(unwinder);
    void (*register_frame)(void *) = (void (*)(void *))dlsym(unwinder, "__register_frame");
    void (*deregister_frame)(void *) = (void (*)(void *))dlsym(unwinder, "__deregister_frame");
    CHECK(register_frame && deregister_frame);
    register_frame(memory + 4096);
    for (int i = 0; i < count; i++) CHECK(call(10005, malloc));
    deregister_frame(memory + 4096);
    CHECK(munmap(memory, 8192) == 0);
    for (int i = 0; i < count; i++) CHECK(malloc(10007));
    report_open_files();
    return 0;
}
