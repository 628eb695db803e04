/* Another interposer of malloc, as many are: its calloc asks dlsym for the real one, which callocs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

static char pool[1 << 16];
static size_t used;
static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t);
static void (*real_free)(void *);

static void *from_pool(size_t size) {
    size = (size + 15) & ~(size_t)15;
    used += size;
    return used <= sizeof pool ? pool + used - size : NULL;
}

void *calloc(size_t count, size_t size) {
    static int asking;
    if (!real_calloc) {
        if (asking) return from_pool(count * size);
        asking = 1;
        real_calloc = dlsym(RTLD_NEXT, "calloc");
        /* A failing search always allocates its message. */
        dlsym(RTLD_NEXT, "no_such_function");
        dlerror();
        asking = 0;
    }
    return real_calloc(count, size);
}

void *malloc(size_t size) {
    if (!real_malloc) real_malloc = dlsym(RTLD_NEXT, "malloc");
    return real_malloc(size);
}

void free(void *block) {
    if ((char *)block >= pool && (char *)block < pool + sizeof pool) return;
    if (!real_free) real_free = dlsym(RTLD_NEXT, "free");
    real_free(block);
}
