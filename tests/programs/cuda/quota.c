/* Another library that interposes CUDA and is preloaded too: it counts what it lets through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

static int passed;

int cudaMalloc(void **p, size_t n) {
    __atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
    return ((int (*)(void **, size_t))dlsym(RTLD_NEXT, "cudaMalloc"))(p, n);
}
int cuMemAlloc_v2(uint64_t *p, size_t n) {
    __atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
    return ((int (*)(uint64_t *, size_t))dlsym(RTLD_NEXT, "cuMemAlloc_v2"))(p, n);
}
__attribute__((destructor)) static void report(void) {
    printf("passed %d\n", passed);
}
